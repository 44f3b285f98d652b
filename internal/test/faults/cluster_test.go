package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// A cluster is three Galera nodes with two daemons, each of which knows all
// nodes, the first of them behind a wire.
type cluster struct {
	*world
	galera *servers.Galera
	nodes  []*servers.MariaDBServer
	wire   *servers.Wire
}

// How long no mail may be taken when one node of three dies. The others suspect
// it after five seconds, and commit nothing before that; should it be back
// before they have agreed, they begin anew, and Galera alone takes longer.
const (
	silence     = 10 * time.Second
	longSilence = 20 * time.Second
)

// slowness is how late the answers of a slow node are. What it was given when
// it became slow waits for so long, and nothing else does.
const slowness = 3 * time.Second

// TestCluster breaks what two daemons stand on that store in a Galera cluster.
func TestCluster(t *testing.T) {
	for _, spread := range []string{"N", "Y"} {
		t.Run("spread "+spread, func(t *testing.T) { testCluster(t, spread) })
	}
}

func testCluster(t *testing.T, spread string) {
	first := shared.Daemon(t, nil)
	g := servers.StartGalera(t, 3, "")
	c := &cluster{
		world:  &world{whole: t, rand: newRand(t), daemons: []*daemon.Daemon{first, shared.Daemon(t, nil)}},
		galera: g, nodes: g.Nodes, wire: servers.StartWire(t, g.Nodes[0].Addr),
	}
	c.nodes[0].CreateTable(t, "new_mail")
	g.AwaitTable(t, "new_mail")
	for i, d := range c.daemons {
		hosts := []string{c.wire.Addr, c.nodes[1].Addr, c.nodes[2].Addr}
		if i == 1 { // another order of preference
			hosts = []string{c.nodes[1].Addr, c.nodes[2].Addr, c.wire.Addr}
		}
		d.Configure(t, pageKeys(t, hosts))
		d.Configure(t, map[string]string{"MYSQL_PASS": c.nodes[0].Pass, "MYSQL_SPREAD": spread, "GSMTP_TIMEOUT": "60"})
		d.Start(t)
	}
	c.db = c.nodes[2].Connect(t)
	c.startLoad(t)
	faults := c.faults(spread == "Y")
	if spread == "N" && !long() { // the rest has nothing to do with it
		faults = slices.DeleteFunc(faults, func(f fault) bool {
			return !slices.Contains([]string{"node killed", "node hung", "node read-only", "one node slow"}, f.name)
		})
	}
	c.run(t, faults)
}

// pageKeys is the configuration of the page on clusters, with other addresses.
func pageKeys(t *testing.T, hosts []string) (keys map[string]string) {
	t.Helper()
	text := test.ReadPage(t, "cluster.md").Block(t, "json galera",
		"192.0.2.11:3306", hosts[0], "192.0.2.12:3306", hosts[1], "192.0.2.13:3306", hosts[2])
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		t.Fatal(err)
	}
	return keys
}

// any returns one of the nodes, the one that fails this time.
func (c *cluster) any() *servers.MariaDBServer { return c.nodes[c.rand.IntN(len(c.nodes))] }

// faults are those of nodes and of the cluster.
func (c *cluster) faults(spread bool) []fault {
	var node *servers.MariaDBServer // that fails
	const subject = "cluster"
	at := func(name string, times int, silence time.Duration, hold func() time.Duration, ail, mend func(t *testing.T)) fault {
		return fault{name: name, subject: subject, times: times, hold: hold, silence: silence,
			ail: func(t *testing.T) {
				node = c.any()
				ail(t)
			},
			mend: func(t *testing.T) {
				mend(t)
				c.galera.Complete(c.whole)
			},
		}
	}
	one := func(name string, times int, hold func() time.Duration, ail, mend func(t *testing.T)) fault {
		return at(name, times, silence, hold, ail, mend)
	}
	wait := func(least, most time.Duration) func() time.Duration {
		return func() time.Duration { return between(c.rand, least, most) }
	}
	faults := []fault{
		one("node killed", 25, wait(8*time.Second, 12*time.Second),
			func(*testing.T) { node.Kill() },
			func(*testing.T) { node.Start(c.whole) }),
		at("node killed, and soon back", 10, longSilence, wait(0, 6*time.Second),
			func(*testing.T) { node.Kill() },
			func(*testing.T) { node.Start(c.whole) }),
		at("node hung", 5, longSilence, wait(time.Second, 15*time.Second),
			func(t *testing.T) { node.Pause(t) },
			func(t *testing.T) { node.Continue(t) }),
		one("nodes restarted one after another", 2, nil,
			func(t *testing.T) {
				for _, n := range c.nodes {
					n.Stop()
					n.Start(c.whole)
					c.galera.Complete(c.whole)
				}
			},
			func(*testing.T) {}),
		one("node read-only", 3, wait(0, 5*time.Second),
			func(t *testing.T) { node.Exec(t, "SET GLOBAL read_only=ON") },
			func(t *testing.T) { node.Exec(t, "SET GLOBAL read_only=OFF") }),
		at("node cut off from the others", 4, longSilence, wait(time.Second, 10*time.Second),
			func(t *testing.T) { c.isolate(t, 1, node) },
			func(t *testing.T) { c.isolate(t, 0, node) }),
		one("node without its state: a donor gives it everything", 3, nil,
			func(t *testing.T) {
				node.Stop()
				if err := os.Remove(filepath.Join(node.DataDir(), "grastate.dat")); err != nil {
					t.Fatal(err)
				}
				node.Start(c.whole)
			},
			func(*testing.T) {}),
		one("table changed", 5, nil,
			func(t *testing.T) {
				node.Exec(t, "ALTER TABLE mail.new_mail ADD COLUMN more varchar(10) NOT NULL DEFAULT '', MODIFY subject varchar(100) NOT NULL")
				c.load.AwaitAcks(t, 20)
				node.Exec(t, "ALTER TABLE mail.new_mail DROP COLUMN more, MODIFY subject varchar(255) NOT NULL")
			},
			func(*testing.T) {}),
		one("certification conflicts", 5, wait(time.Second, 5*time.Second),
			func(t *testing.T) { // nodes give the same numbers to different mails
				for _, n := range c.nodes {
					n.Exec(t, "SET GLOBAL wsrep_auto_increment_control=OFF", "SET GLOBAL auto_increment_increment=1", "SET GLOBAL auto_increment_offset=1")
				}
			},
			func(t *testing.T) {
				for _, n := range c.nodes {
					n.Exec(t, "SET GLOBAL wsrep_auto_increment_control=ON")
				}
			}),
		{
			name: "quorum lost", subject: subject, times: 3,
			ail: func(t *testing.T) {
				c.isolate(t, 1, c.nodes[:2]...)
				c.load.AwaitRefusal(t)
			},
			hold: wait(0, 5*time.Second),
			mend: func(t *testing.T) {
				c.isolate(t, 0, c.nodes[:2]...)
				c.galera.Complete(c.whole)
			},
		},
	}
	slow := fault{
		name: "one node slow", subject: subject, times: 5,
		ail:  func(*testing.T) { c.wire.Snip(servers.Snip{Back: true, Delay: slowness}) },
		hold: wait(2*time.Second, 10*time.Second),
		mend: func(*testing.T) { c.wire.Mend() },
	}
	if spread { // the others do what it does not
		slow.silence = slowness + time.Second
	}
	return append(faults, slow)
}

// isolate cuts nodes off from all others, or ends that.
func (c *cluster) isolate(t *testing.T, on int, nodes ...*servers.MariaDBServer) {
	t.Helper()
	for _, n := range nodes {
		n.Exec(t, fmt.Sprintf("SET GLOBAL wsrep_provider_options='gmcast.isolate=%d'", on))
	}
}
