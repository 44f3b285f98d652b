package servers

import (
	"fmt"
	"strings"
	"time"

	"goguerrillad/internal/test"
)

// A Replication is a primary and its read-only replica.
type Replication struct {
	Primary, Replica *MariaDBServer

	semiSync bool
	terms    replicationTerms
}

// replicationTerms has the names that differ between MariaDB and MySQL.
type replicationTerms struct {
	options       []string
	semiSync      []string // options of both servers
	wait          string   // prefix of the settings of a primary that waits for its replica
	reset         []string // forgets all transactions
	follow        string   // with the port of the primary
	start, stop   string
	status        string
	threads       [2]string // in the status
	received      string    // GTIDs, in the status
	committed     string    // returns the GTIDs of the primary
	awaitReceived string    // with GTIDs
}

func termsOfMariaDB() replicationTerms {
	return replicationTerms{
		options:  []string{"--log-bin", "--gtid-strict-mode=ON", "--log-slave-updates"},
		semiSync: []string{"--rpl-semi-sync-slave-enabled=ON", "--rpl-semi-sync-master-wait-point=AFTER_SYNC"},
		wait:     "rpl_semi_sync_master_",
		reset:    []string{"RESET MASTER", "SET GLOBAL gtid_slave_pos=''"},
		follow: "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%s, MASTER_USER='replica'," +
			" MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
		start: "START SLAVE", stop: "STOP SLAVE", status: "SHOW SLAVE STATUS",
		threads: [2]string{"Slave_IO_Running", "Slave_SQL_Running"}, received: "Gtid_IO_Pos",
		committed: "SELECT @@gtid_binlog_pos", awaitReceived: "SELECT MASTER_GTID_WAIT('%s', 20)",
	}
}

func termsOfMySQL() replicationTerms {
	return replicationTerms{
		options: []string{"--gtid-mode=ON", "--enforce-gtid-consistency=ON"},
		semiSync: []string{"--plugin-load-add=semisync_source.so", "--plugin-load-add=semisync_replica.so",
			"--rpl-semi-sync-replica-enabled=ON"},
		wait:  "rpl_semi_sync_source_",
		reset: []string{"RESET BINARY LOGS AND GTIDS"},
		follow: "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%s, SOURCE_USER='replica'," +
			" SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, GET_SOURCE_PUBLIC_KEY=1",
		start: "START REPLICA", stop: "STOP REPLICA", status: "SHOW REPLICA STATUS",
		threads: [2]string{"Replica_IO_Running", "Replica_SQL_Running"}, received: "Retrieved_Gtid_Set",
		committed: "SELECT @@GLOBAL.gtid_executed", awaitReceived: "SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', 20)",
	}
}

// StartReplication starts a primary and its replica, with the table new_mail. With
// semiSync, a commit of the primary waits until the replica has received it.
func StartReplication(t test.T, semiSync bool) *Replication {
	t.Helper()
	r := &Replication{semiSync: semiSync, terms: termsOfMariaDB()}
	if MySQL {
		r.terms = termsOfMySQL()
	}
	options := r.terms.options
	if semiSync {
		options = append(options, r.terms.semiSync...)
	}
	start := func(id int) *MariaDBServer {
		m := MariaDB(t, append([]string{fmt.Sprintf("--server-id=%d", id)}, options...)...)
		m.Exec(t, "CREATE USER replica@`%`", "GRANT REPLICATION SLAVE ON *.* TO replica@`%`")
		m.Exec(t, r.terms.reset...)
		return m
	}
	r.Primary, r.Replica = start(1), start(2)
	r.follow(t)
	r.Primary.CreateTable(t, "new_mail")
	return r
}

// follow makes the replica read-only and starts the replication.
func (r *Replication) follow(t test.T) {
	t.Helper()
	r.Replica.Exec(t, "SET GLOBAL read_only=ON", fmt.Sprintf(r.terms.follow, r.Primary.Port()), r.terms.start)
	test.Await(t, nil, 20*time.Second, "wait for the replication", func() error {
		status := r.replicaStatus(t)
		for _, thread := range r.terms.threads {
			if status[thread] != "Yes" {
				return fmt.Errorf("%s is %s, errors: %s %s", thread, status[thread], status["Last_IO_Error"], status["Last_SQL_Error"])
			}
		}
		return nil
	})
	if !r.semiSync {
		return
	}
	// A primary without a replica would wait at each commit.
	r.Primary.Exec(t, "SET GLOBAL "+r.terms.wait+"timeout=60000", "SET GLOBAL "+r.terms.wait+"enabled=ON")
	test.Await(t, nil, 20*time.Second, "wait for the semi-synchronous replica", func() error {
		if n := r.Primary.Status(t, r.terms.wait+"clients"); n != "1" {
			return fmt.Errorf("the primary has %s, want 1", n)
		}
		return nil
	})
}

// replicaStatus returns the status of the replication on the replica.
func (r *Replication) replicaStatus(t test.T) map[string]string {
	t.Helper()
	rows, err := r.Replica.root.Query(r.terms.status)
	if err != nil {
		t.Fatalf("%s: %v", r.terms.status, err)
	}
	defer rows.Close()
	names, _ := rows.Columns()
	values, fields := make([][]byte, len(names)), make([]any, len(names))
	for i := range values {
		fields[i] = &values[i]
	}
	if !rows.Next() {
		t.Fatalf("%s: no row, %v", r.terms.status, rows.Err())
	}
	if err := rows.Scan(fields...); err != nil {
		t.Fatalf("%s: %v", r.terms.status, err)
	}
	status := map[string]string{}
	for i, name := range names {
		status[name] = string(values[i])
	}
	return status
}

// Swap exchanges the roles of the servers. It calls readOnly when the primary has become
// read-only.
func (r *Replication) Swap(t test.T, readOnly func()) {
	t.Helper()
	r.Primary.Exec(t, "SET GLOBAL read_only=ON")
	readOnly()
	var committed string
	r.Primary.QueryRow(t, r.terms.committed, &committed)
	r.promote(t, committed)
	if r.semiSync {
		r.Replica.Exec(t, "SET GLOBAL "+r.terms.wait+"enabled=OFF")
	}
	r.follow(t)
	r.Primary.Exec(t, "SET GLOBAL read_only=OFF")
}

// FailOver kills the primary and makes the replica a primary without a replica.
func (r *Replication) FailOver(t test.T) {
	t.Helper()
	r.Primary.Kill()
	r.promote(t, r.replicaStatus(t)[r.terms.received])
	r.Primary.Exec(t, "SET GLOBAL read_only=OFF")
}

// promote makes the replica the primary when it has executed the transactions.
func (r *Replication) promote(t test.T, gtids string) {
	t.Helper()
	r.Replica.Exec(t, fmt.Sprintf(r.terms.awaitReceived, strings.ReplaceAll(gtids, "\n", "")), r.terms.stop)
	r.Primary, r.Replica = r.Replica, r.Primary
}
