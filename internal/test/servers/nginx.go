package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"goguerrillad/internal/test"
)

// nginxMail is where Debian's package libnginx-mod-mail has the module.
const nginxMail = "/usr/lib/nginx/modules/ngx_mail_module.so"

// Nginx starts nginx with a mail block of the test's own, whose listeners are
// waited for at addr.
func Nginx(t test.T, mail, addr string) *test.Process {
	t.Helper()
	test.Need(t, "nginx")
	if _, err := os.Stat(nginxMail); err != nil {
		test.Need(t, nginxMail) // fails or skips: it is no program
	}
	dir := test.PublicDir(t)
	conf := "load_module " + nginxMail + ";\n" +
		"daemon off;\nworker_processes 1;\npid " + filepath.Join(dir, "pid") + ";\nerror_log stderr info;\n" +
		"events { worker_connections 2048; }\n" + mail
	p := test.Start(t, exec.Command("nginx", "-p", dir, "-c", test.WriteFile(t, dir, "nginx.conf", conf), "-e", "stderr"))
	test.Await(t, p, 20*time.Second, "nginx does not listen", test.Dial(addr))
	return p
}
