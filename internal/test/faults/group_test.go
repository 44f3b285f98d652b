//go:build mysql

package faults

import (
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// TestFaultsGroupReplication applies the faults of a group of three MySQL servers. The
// daemon stores in its primary.
func TestFaultsGroupReplication(t *testing.T) {
	d := shared.Daemon(t, nil)
	g := servers.StartGroup(t, 3)
	var hosts []string
	for _, m := range g.Members {
		hosts = append(hosts, m.Addr)
	}
	d.Configure(t, g.Members[0].Keys())
	d.Configure(t, map[string]string{"MYSQL_HOST": strings.Join(hosts, ","), "GSMTP_TIMEOUT": "60"})
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: g.Primary(t).Connect(t), maxRecovery: 30 * time.Second}
	w.startLoad(t)
	var failed *servers.MariaDBServer
	wait := func(low, high time.Duration) func() time.Duration {
		return func() time.Duration { return between(w.rand, low, high) }
	}
	memberFault := func(name string, primary bool, duration func() time.Duration, start, end func(*testing.T)) fault {
		return fault{
			name: name, subject: "group", times: 10, exclusive: true, duration: duration,
			start: func(t *testing.T) {
				failed = g.Primary(t)
				if !primary {
					failed = other(g, failed)
				}
				start(t)
			},
			end: func(t *testing.T) {
				end(t)
				g.Complete(t)
				w.db = g.Primary(t).Connect(t)
			},
		}
	}
	kill := func(*testing.T) { failed.Kill() }
	start := func(*testing.T) { failed.Start(w.parent) }
	w.run(t, []fault{
		memberFault("primary killed", true, wait(15*time.Second, 20*time.Second), kill, start),
		memberFault("primary killed and restarted soon", true, wait(0, time.Second), kill, start),
		memberFault("primary hung", true, wait(time.Second, 20*time.Second),
			func(t *testing.T) { failed.Pause(t) }, func(t *testing.T) { failed.Continue(t) }),
		memberFault("secondary killed", false, wait(0, 10*time.Second), kill, start),
		memberFault("another primary", true, nil,
			func(t *testing.T) { g.MakePrimary(t, other(g, failed)) }, func(*testing.T) {}),
	})
}

// other returns a member other than the given one.
func other(g *servers.Group, m *servers.MariaDBServer) *servers.MariaDBServer {
	if g.Members[0] == m {
		return g.Members[1]
	}
	return g.Members[0]
}
