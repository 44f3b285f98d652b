package testserver

import (
	"os/exec"
	"time"
)

// HAProxy starts HAProxy with a configuration of the test's own, whose
// listeners are waited for at addr.
func HAProxy(t T, conf, addr string) *Process {
	t.Helper()
	Need(t, "haproxy")
	p := Start(t, exec.Command("haproxy", "-db", "-f", writeFile(t, PublicDir(t), "haproxy.cfg", conf)))
	Await(t, p, 20*time.Second, "HAProxy does not listen", Dial(addr))
	return p
}
