package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"goguerrillad/internal/test"
)

// nginxMail is the module in Debian's package libnginx-mod-mail.
const nginxMail = "/usr/lib/nginx/modules/ngx_mail_module.so"

// Nginx starts nginx with the given mail block and as many workers as in Debian's
// configuration, and waits until it listens on addr.
func Nginx(t test.T, mail, addr string) *test.Process {
	t.Helper()
	test.Need(t, "nginx")
	if _, err := os.Stat(nginxMail); err != nil {
		test.Need(t, nginxMail) // fails or skips, since the file does not exist
	}
	dir := test.PublicDir(t)
	conf := "load_module " + nginxMail + ";\n" +
		"daemon off;\nworker_processes auto;\npid " + filepath.Join(dir, "pid") + ";\nerror_log stderr info;\n" +
		"events { worker_connections 2048; }\n" + mail
	program, err := test.LookPath("nginx")
	if err != nil {
		t.Fatalf("%v", err)
	}
	p := test.Start(t, exec.Command(program, "-p", dir, "-c", test.WriteFile(t, dir, "nginx.conf", conf), "-e", "stderr"))
	test.Await(t, p, 20*time.Second, "wait for the port of nginx", test.Dial(addr))
	return p
}
