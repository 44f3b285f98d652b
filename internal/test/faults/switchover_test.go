package faults

import (
	"fmt"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// TestFaultsSwitchOver swaps a primary and its replica several times under load. The
// daemon stores in the server that is not read-only.
func TestFaultsSwitchOver(t *testing.T) {
	d := shared.Daemon(t, nil)
	start := func(id int) *servers.MariaDBServer {
		return servers.MariaDB(t, "--log-bin", fmt.Sprintf("--server-id=%d", id), "--gtid-strict-mode=ON", "--log-slave-updates")
	}
	primary, replica := start(1), start(2)
	// The replication starts without the statements so far.
	for _, m := range []*servers.MariaDBServer{primary, replica} {
		m.Exec(t, "RESET MASTER", "SET GLOBAL gtid_slave_pos=''")
	}
	follow(t, replica, primary)
	primary.CreateTable(t, "new_mail")
	d.Configure(t, primary.Keys())
	d.Configure(t, map[string]string{"MYSQL_HOST": primary.Addr + "," + replica.Addr})
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: primary.Connect(t)}
	w.startLoad(t)
	times := 2
	if long() {
		times = 20
	}
	for range times {
		w.apply(t, fault{
			name: "primary and replica swapped",
			start: func(t *testing.T) {
				primary.Exec(t, "SET GLOBAL read_only=ON")
				w.load.AwaitRefusal(t)
				var at string
				primary.QueryRow(t, "SELECT @@gtid_binlog_pos", &at)
				replica.Exec(t, fmt.Sprintf("SELECT MASTER_GTID_WAIT('%s', 20)", at), "STOP SLAVE")
				follow(t, primary, replica)
				replica.Exec(t, "SET GLOBAL read_only=OFF")
				primary, replica = replica, primary
				w.db = primary.Connect(t)
			},
		})
	}
	w.load.Pause()
	w.audit(t)
	w.ledger.print(t)
}

// follow makes a server the read-only replica of another server.
func follow(t *testing.T, replica, primary *servers.MariaDBServer) {
	t.Helper()
	replica.Exec(t, "SET GLOBAL read_only=ON",
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%s, MASTER_USER='root', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
			primary.Port()), "START SLAVE")
	test.Await(t, nil, 20*time.Second, "waiting for the replication", func() error {
		var state string
		replica.QueryRow(t, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='Slave_running'", &state)
		if state != "ON" {
			return fmt.Errorf("Slave_running is %s", state)
		}
		return nil
	})
}
