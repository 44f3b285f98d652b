//go:build mysql

package servers

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"goguerrillad/internal/test"
)

// A Group is a single-primary group of MySQL's Group Replication.
type Group struct {
	Members []*MariaDBServer
}

// groupName is any UUID.
const groupName = "8f2a3b4c-0000-4000-8000-000000000001"

// groupTime bounds the wait for members: the others need about 10 s to expel one.
const groupTime = 2 * time.Minute

// StartGroup starts a group of n servers, with the table new_mail and additional options
// for the primary. A member that restarts joins the group.
func StartGroup(t test.T, n int, primary ...string) *Group {
	t.Helper()
	test.Need(t, "mysqld")
	var seeds []string
	for range n {
		seeds = append(seeds, net.JoinHostPort("127.0.0.1", strconv.Itoa(test.FreePort(t))))
	}
	g := &Group{}
	for i, seed := range seeds {
		options := []string{
			fmt.Sprintf("--server-id=%d", i+1), "--gtid-mode=ON", "--enforce-gtid-consistency=ON",
			"--report-host=127.0.0.1", "--plugin-load-add=group_replication.so",
			"--group-replication-group-name=" + groupName,
			"--group-replication-local-address=" + seed, "--group-replication-group-seeds=" + strings.Join(seeds, ","),
			"--group-replication-recovery-get-public-key=ON", "--group-replication-recovery-reconnect-interval=2",
		}
		if i == 0 {
			options = append(options, primary...)
		}
		m := newMariaDB(test.ShortDir(t), net.JoinHostPort("127.0.0.1", strconv.Itoa(test.FreePort(t))), options)
		g.Members = append(g.Members, m)
		m.initialize(t)
		m.StartAlone(t)
		m.connectRoot(t)
		m.Exec(t, "CREATE USER replica@`%`", "GRANT REPLICATION SLAVE, CONNECTION_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO replica@`%`",
			"RESET BINARY LOGS AND GTIDS",
			"CHANGE REPLICATION SOURCE TO SOURCE_USER='replica' FOR CHANNEL 'group_replication_recovery'")
		if i == 0 {
			m.Exec(t, "SET GLOBAL group_replication_bootstrap_group=ON", "START GROUP_REPLICATION",
				"SET GLOBAL group_replication_bootstrap_group=OFF")
			m.addUser(t)
			m.CreateTable(t, "new_mail")
			continue
		}
		m.Exec(t, "START GROUP_REPLICATION")
	}
	g.Complete(t)
	return g
}

// StartAlone starts a member that does not join its group.
func (m *MariaDBServer) StartAlone(t test.T) {
	t.Helper()
	m.start(t, "--group-replication-start-on-boot=OFF")
}

// Primary returns the member that accepts messages.
func (g *Group) Primary(t test.T) (primary *MariaDBServer) {
	t.Helper()
	test.Await(t, nil, groupTime, "wait for a primary", func() error {
		for _, m := range g.Members {
			var role string
			if err := m.root.QueryRow(memberQuery("MEMBER_ROLE")).Scan(&role); err == nil && role == "PRIMARY" {
				primary = m
				return nil
			}
		}
		return fmt.Errorf("no member is the primary")
	})
	return primary
}

func memberQuery(column string) string {
	return "SELECT " + column + " FROM performance_schema.replication_group_members WHERE MEMBER_ID=@@server_uuid AND MEMBER_STATE='ONLINE'"
}

// Complete waits until the group has all members. It makes a member join that has left,
// as an operator would.
func (g *Group) Complete(t test.T) {
	t.Helper()
	again := time.Now().Add(serverStart)
	test.Await(t, nil, groupTime, "wait for all members of the group", func() error {
		var lacking error
		for _, m := range g.Members {
			var state string
			if err := m.root.QueryRow(memberQuery("MEMBER_STATE")).Scan(&state); err != nil {
				lacking = fmt.Errorf("%s is not online: %w", m.Addr, err)
				if time.Now().After(again) {
					_, err := m.root.Exec("STOP GROUP_REPLICATION")
					if err == nil {
						_, err = m.root.Exec("START GROUP_REPLICATION")
					}
					t.Logf("the member %s is not online, joining again: %v", m.Addr, err)
				}
			}
		}
		if time.Now().After(again) {
			again = time.Now().Add(serverStart)
		}
		return lacking
	})
}

// MakePrimary makes a member the primary.
func (g *Group) MakePrimary(t test.T, m *MariaDBServer) {
	t.Helper()
	var uuid string
	m.QueryRow(t, "SELECT @@server_uuid", &uuid)
	m.Exec(t, "SELECT group_replication_set_as_primary('"+uuid+"')")
}
