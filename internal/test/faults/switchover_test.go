package faults

import (
	"testing"

	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// TestFaultsSwitchOver swaps a primary and its replica several times under load. The
// daemon stores in the server that is not read-only. A semi-synchronous replica has all
// acknowledged messages when the primary is killed.
func TestFaultsSwitchOver(t *testing.T) {
	for name, semiSync := range map[string]bool{"asynchronous": false, "semi-synchronous": true} {
		t.Run(name, func(t *testing.T) { testSwitchOver(t, semiSync) })
	}
}

func testSwitchOver(t *testing.T, semiSync bool) {
	d := shared.Daemon(t, nil)
	r := servers.StartReplication(t, semiSync)
	d.Configure(t, r.Primary.Keys())
	d.Configure(t, map[string]string{"MYSQL_HOST": r.Primary.Addr + "," + r.Replica.Addr})
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: r.Primary.Connect(t)}
	w.startLoad(t)
	times := 2
	if long() {
		times = 20
	}
	for range times {
		w.apply(t, fault{
			name: "primary and replica swapped",
			start: func(t *testing.T) {
				r.Swap(t, func() { w.load.AwaitRefusal(t) })
				w.db = r.Primary.Connect(t)
			},
		})
	}
	if semiSync {
		w.apply(t, fault{
			name: "primary killed, replica promoted",
			start: func(t *testing.T) {
				r.FailOver(t)
				w.db = r.Primary.Connect(t)
			},
		})
	}
	w.load.Pause()
	w.audit(t)
	w.ledger.print(t)
}
