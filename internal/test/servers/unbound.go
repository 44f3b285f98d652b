package servers

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"goguerrillad/internal/test"
)

// DNS starts Unbound with these records, each a line of a zone file, and returns its
// address. It refuses queries about names in the domain broken.example, and knows no
// other name.
func DNS(t test.T, records ...string) string {
	t.Helper()
	test.Need(t, "unbound")
	program, err := test.LookPath("unbound")
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir, port := test.PublicDir(t), test.FreePort(t)
	var conf strings.Builder
	fmt.Fprintf(&conf, "server:\n interface: 127.0.0.1\n port: %d\n directory: %q\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n"+
		" use-syslog: no\n do-ip6: no\n num-threads: 1\n local-zone: \".\" static\n local-zone: \"broken.example.\" always_refuse\n", port, dir)
	for _, r := range records {
		fmt.Fprintf(&conf, " local-data: '%s'\n", r)
	}
	conf.WriteString("remote-control:\n control-enable: no\n")
	p := test.Start(t, exec.Command(program, "-d", "-c", test.WriteFile(t, dir, "unbound.conf", conf.String())))
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	test.Await(t, p, 30*time.Second, "wait for the port of Unbound", test.Dial(addr))
	return addr
}
