package servers

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"goguerrillad/internal/test"
)

// A Galera is a cluster of MariaDB servers, each on its own loopback address.
type Galera struct {
	Nodes []*MariaDBServer
}

// galeraLibrary is the provider in Debian's package galera-4.
const galeraLibrary = "/usr/lib/galera/libgalera_smm.so"

// Quick is for StartGalera: nodes suspect a silent node after 2 s instead of 5 s.
const Quick = "evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT5S;"

// StartGalera starts n nodes; timeouts is Quick or "". The cluster has the user and the
// database that MariaDB creates.
func StartGalera(t test.T, n int, timeouts string, options ...string) *Galera {
	t.Helper()
	test.Need(t, "mariadbd", "mariadb-install-db", "rsync")
	if _, err := os.Stat(galeraLibrary); err != nil {
		test.Need(t, galeraLibrary) // fails or skips, since the file does not exist
	}
	// The addresses differ, so all nodes may use the same ports.
	var ports [4]string
	for i := range ports {
		ports[i] = strconv.Itoa(test.FreePort(t))
	}
	sql, group, ist, sst := ports[0], ports[1], ports[2], ports[3]
	var members []string
	for i := range n {
		members = append(members, net.JoinHostPort(galeraAddress(i), group))
	}
	g := &Galera{}
	for i := range n {
		at := galeraAddress(i)
		m := newMariaDB(test.ShortDir(t), net.JoinHostPort(at, sql), append([]string{
			"--loose-plugin-wsrep-provider=OFF", // with it, MariaDB 11.8 refuses to change an option
			"--wsrep-on=ON", "--wsrep-provider=" + galeraLibrary, "--wsrep-cluster-name=test",
			"--wsrep-node-name=node" + strconv.Itoa(i+1), "--wsrep-node-address=" + at,
			"--wsrep-cluster-address=gcomm://" + strings.Join(members, ","),
			"--wsrep-provider-options=" + timeouts + strings.Join([]string{
				"base_host=" + at, "base_port=" + group, "gmcast.listen_addr=tcp://" + net.JoinHostPort(at, group),
				"ist.recv_addr=" + net.JoinHostPort(at, ist),
				"gcache.size=32M", "gcache.dir=.",
			}, ";"),
			"--wsrep-sst-method=rsync", "--wsrep-sst-receive-address=" + net.JoinHostPort(at, sst),
			"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2",
		}, options...))
		m.galera = true
		m.runAs(t, "nobody") // rsync drops the privileges of root and then cannot write
		g.Nodes = append(g.Nodes, m)
		if i == 0 {
			m.install(t)
			m.Bootstrap(t)
			m.connectRoot(t)
			g.AwaitSize(t, m, 1)
			m.addUser(t)
			continue
		}
		m.install(t)
		m.Start(t)
		m.connectRoot(t)
	}
	g.AwaitSize(t, g.Nodes[0], n)
	return g
}

// runAs makes a server that root starts switch to another user.
func (m *MariaDBServer) runAs(t test.T, name string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err == nil {
		err = os.Chown(filepath.Dir(m.dir), uid, -1)
	}
	if err != nil {
		t.Fatalf("change the owner of a directory to %s: %v", name, err)
	}
	m.user = name
}

func galeraAddress(i int) string { return fmt.Sprintf("127.0.0.%d", 11+i) }

// Bootstrap starts a node as the first of a new cluster.
func (m *MariaDBServer) Bootstrap(t test.T) {
	t.Helper()
	m.start(t, "--wsrep-new-cluster")
}

// Isolate separates a node from all other nodes, until Isolate with false.
func (m *MariaDBServer) Isolate(t test.T, isolated bool) {
	t.Helper()
	value := 0
	if isolated {
		value = 1
	}
	m.Exec(t, fmt.Sprintf("SET GLOBAL wsrep_provider_options='gmcast.isolate=%d'", value))
}

// AwaitTable waits until all nodes have a table and the rights on it.
func (g *Galera) AwaitTable(t test.T, name string) {
	t.Helper()
	for _, node := range g.Nodes {
		db := node.Connect(t)
		test.Await(t, node.process, serverStart, "wait for "+name+" on a node", func() error {
			_, err := db.Exec("SELECT 1 FROM " + name + " LIMIT 0") // a node that is joining refuses statements
			return err
		})
	}
}

// AwaitSize waits until a node reports a cluster with a quorum and n nodes, including
// itself.
func (g *Galera) AwaitSize(t test.T, node *MariaDBServer, n int) {
	t.Helper()
	test.Await(t, node.process, serverStart, "wait for all nodes of the cluster", func() error { return node.checkSize(n) })
}

// checkSize returns an error unless the node accepts statements and reports a cluster with
// a quorum and n nodes.
func (m *MariaDBServer) checkSize(n int) error {
	want := map[string]string{"wsrep_cluster_size": strconv.Itoa(n), "wsrep_cluster_status": "Primary", "wsrep_ready": "ON"}
	for name, want := range want {
		var got string
		if err := m.root.QueryRow("SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(&name, &got); err != nil {
			return fmt.Errorf("query %s for %s: %w", m.Addr, name, err)
		}
		if got != want {
			return fmt.Errorf("%s of %s is %s, want %s", name, m.Addr, got, want)
		}
	}
	return nil
}

// Complete waits until the cluster has all nodes. As an operator would, it restarts a node
// that has ended or does not find the other nodes.
func (g *Galera) Complete(t test.T) {
	t.Helper()
	restart := time.Now().Add(serverStart)
	test.Await(t, nil, 3*serverStart, "wait for all nodes of the cluster", func() error {
		var lost *MariaDBServer // the node to restart
		var missing error
		for _, node := range g.Nodes {
			select {
			case <-node.process.Done():
				t.Logf("the node %s has ended, starting it again", node.Addr)
				node.Start(t)
			default:
			}
			if err := node.checkSize(len(g.Nodes)); err != nil {
				missing = err
				if lost == nil || node.checkSize(1) == nil || !node.ready() {
					lost = node
				}
			}
		}
		if missing != nil && time.Now().After(restart) {
			restart = time.Now().Add(serverStart)
			t.Logf("the node %s does not find the other nodes, starting it again: %v", lost.Addr, missing)
			lost.Kill()
			lost.Start(t)
		}
		return missing
	})
}

// ready reports whether a node accepts statements.
func (m *MariaDBServer) ready() bool {
	var name, value string
	err := m.root.QueryRow("SHOW GLOBAL STATUS LIKE 'wsrep_ready'").Scan(&name, &value)
	return err == nil && value == "ON"
}
