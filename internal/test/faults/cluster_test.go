package faults

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// A cluster is three Galera nodes and two daemons that are configured with all nodes.
// The daemons connect to the first node through a TCP proxy.
type cluster struct {
	*faultTest
	galera *servers.Galera
	nodes  []*servers.MariaDBServer
	proxy  *servers.TCPProxy
}

// shortGap is the longest time without an accepted message after one of three nodes has
// failed: the other nodes suspect the failed node after 5 s, and commit nothing until
// then. If the failed node returns before the others have agreed, they start again, and
// the limit is longGap.
const (
	shortGap = 10 * time.Second
	longGap  = 20 * time.Second
)

// nodeDelay is the delay of each reply of a slow node. Only the batches that the node is
// committing when it becomes slow wait for its replies.
const nodeDelay = 3 * time.Second

// TestCluster applies the faults of a Galera cluster in which two daemons store.
func TestCluster(t *testing.T) {
	for _, spread := range []string{"N", "Y"} {
		t.Run("spread "+spread, func(t *testing.T) { testCluster(t, spread) })
	}
}

func testCluster(t *testing.T, spread string) {
	first := shared.Daemon(t, nil)
	g := servers.StartGalera(t, 3, "")
	c := &cluster{
		faultTest: &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{first, shared.Daemon(t, nil)}},
		galera:    g, nodes: g.Nodes, proxy: servers.StartTCPProxy(t, g.Nodes[0].Addr),
	}
	c.nodes[0].CreateTable(t, "new_mail")
	g.AwaitTable(t, "new_mail")
	for i, d := range c.daemons {
		hosts := []string{c.proxy.Addr, c.nodes[1].Addr, c.nodes[2].Addr}
		if i == 1 { // the second daemon prefers another node
			hosts = []string{c.nodes[1].Addr, c.nodes[2].Addr, c.proxy.Addr}
		}
		d.Configure(t, pageKeys(t, hosts))
		d.Configure(t, map[string]string{"MYSQL_PASS": c.nodes[0].Pass, "MYSQL_SPREAD": spread, "GSMTP_TIMEOUT": "60"})
		d.Start(t)
	}
	c.db = c.nodes[2].Connect(t)
	c.startLoad(t)
	faults := c.faults(spread == "Y")
	if spread == "N" && !long() { // only the faults on which MYSQL_SPREAD has an effect
		faults = slices.DeleteFunc(faults, func(f fault) bool {
			return !slices.Contains([]string{"node killed", "node hung", "node read-only", "one node slow"}, f.name)
		})
	}
	c.run(t, faults)
}

// pageKeys returns the configuration of cluster.md with the addresses of the test.
func pageKeys(t *testing.T, hosts []string) (keys map[string]string) {
	t.Helper()
	text := test.ReadPage(t, "cluster.md").Block(t, "json galera",
		"192.0.2.11:3306", hosts[0], "192.0.2.12:3306", hosts[1], "192.0.2.13:3306", hosts[2])
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		t.Fatal(err)
	}
	return keys
}

// randomNode returns one of the nodes.
func (c *cluster) randomNode() *servers.MariaDBServer { return c.nodes[c.rand.IntN(len(c.nodes))] }

// faults returns the faults of single nodes and of the cluster.
func (c *cluster) faults(spread bool) []fault {
	var node *servers.MariaDBServer // the node that fails
	const subject = "cluster"
	nodeFault := func(name string, times int, maxGap time.Duration, duration func() time.Duration, start, end func(t *testing.T)) fault {
		return fault{name: name, subject: subject, times: times, duration: duration, maxGap: maxGap,
			start: func(t *testing.T) {
				node = c.randomNode()
				start(t)
			},
			end: func(t *testing.T) {
				end(t)
				c.galera.Complete(c.parent)
			},
		}
	}
	wait := func(low, high time.Duration) func() time.Duration {
		return func() time.Duration { return between(c.rand, low, high) }
	}
	faults := []fault{
		nodeFault("node killed", 25, shortGap, wait(8*time.Second, 12*time.Second),
			func(*testing.T) { node.Kill() },
			func(*testing.T) { node.Start(c.parent) }),
		nodeFault("node killed and restarted soon", 10, longGap, wait(0, 6*time.Second),
			func(*testing.T) { node.Kill() },
			func(*testing.T) { node.Start(c.parent) }),
		nodeFault("node hung", 5, longGap, wait(time.Second, 15*time.Second),
			func(t *testing.T) { node.Pause(t) },
			func(t *testing.T) { node.Continue(t) }),
		nodeFault("nodes restarted one after another", 2, shortGap, nil,
			func(t *testing.T) {
				for _, n := range c.nodes {
					n.Stop()
					n.Start(c.parent)
					c.galera.Complete(c.parent)
				}
			},
			func(*testing.T) {}),
		nodeFault("node read-only", 3, shortGap, wait(0, 5*time.Second),
			func(t *testing.T) { node.Exec(t, "SET GLOBAL read_only=ON") },
			func(t *testing.T) { node.Exec(t, "SET GLOBAL read_only=OFF") }),
		nodeFault("node cut off from the others", 4, longGap, wait(time.Second, 10*time.Second),
			func(t *testing.T) { c.isolate(t, true, node) },
			func(t *testing.T) { c.isolate(t, false, node) }),
		nodeFault("node without its state, full transfer from a donor", 3, shortGap, nil,
			func(t *testing.T) {
				node.Stop()
				if err := os.Remove(filepath.Join(node.DataDir(), "grastate.dat")); err != nil {
					t.Fatal(err)
				}
				node.Start(c.parent)
			},
			func(*testing.T) {}),
		nodeFault("table changed", 5, shortGap, nil,
			func(t *testing.T) {
				node.Exec(t, "ALTER TABLE mail.new_mail ADD COLUMN more varchar(10) NOT NULL DEFAULT '', MODIFY subject varchar(100) NOT NULL")
				c.load.AwaitAcks(t, 20)
				node.Exec(t, "ALTER TABLE mail.new_mail DROP COLUMN more, MODIFY subject varchar(255) NOT NULL")
			},
			func(*testing.T) {}),
		nodeFault("certification conflicts", 5, shortGap, wait(time.Second, 5*time.Second),
			func(t *testing.T) { // nodes assign the same mail_id to different messages
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
			start: func(t *testing.T) {
				c.isolate(t, true, c.nodes[:2]...)
				c.load.AwaitRefusal(t)
			},
			duration: wait(0, 5*time.Second),
			end: func(t *testing.T) {
				c.isolate(t, false, c.nodes[:2]...)
				c.galera.Complete(c.parent)
			},
		},
	}
	slow := fault{
		name: "one node slow", subject: subject, times: 5,
		start:    func(*testing.T) { c.proxy.Inject(servers.TCPFault{ToClient: true, Delay: nodeDelay}) },
		duration: wait(2*time.Second, 10*time.Second),
		end:      func(*testing.T) { c.proxy.Clear() },
	}
	if spread { // the other nodes accept the messages
		slow.maxGap = nodeDelay + time.Second
	}
	return append(faults, slow)
}

// isolate separates nodes from all other nodes, until isolate with false.
func (c *cluster) isolate(t *testing.T, isolated bool, nodes ...*servers.MariaDBServer) {
	t.Helper()
	for _, n := range nodes {
		n.Isolate(t, isolated)
	}
}
