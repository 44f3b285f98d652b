package servers

import (
	"os/exec"
	"time"

	"goguerrillad/internal/test"
)

// HAProxy starts HAProxy with the given configuration, and waits until it listens on
// addr.
func HAProxy(t test.T, conf, addr string) *test.Process {
	t.Helper()
	test.Need(t, "haproxy")
	program, err := test.LookPath("haproxy")
	if err != nil {
		t.Fatalf("%v", err)
	}
	p := test.Start(t, exec.Command(program, "-db", "-f", test.WriteFile(t, test.PublicDir(t), "haproxy.cfg", conf)))
	test.Await(t, p, 20*time.Second, "wait for the port of HAProxy", test.Dial(addr))
	return p
}
