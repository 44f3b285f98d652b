package faults

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// postgresFaults returns the faults of a server and of its disk.
func (w *faultTest) postgresFaults(s *servers.PostgresServer, disk *servers.Disk) []fault {
	const subject = "PostgreSQL"
	wait := func(low, high time.Duration) func() time.Duration {
		return func() time.Duration { return between(w.rand, low, high) }
	}
	terminate := func(t *testing.T) {
		s.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename='"+s.User+"'")
	}
	var release func() // of connections
	return []fault{
		{
			name: "PostgreSQL killed", subject: subject, times: 200,
			start:    func(*testing.T) { s.Kill() },
			duration: wait(0, time.Second),
			end:      func(*testing.T) { s.Start(w.parent) },
		},
		{
			name: "PostgreSQL restarted", subject: subject, times: 20,
			start: func(*testing.T) { s.Stop() },
			end:   func(*testing.T) { s.Start(w.parent) },
		},
		{
			name: "PostgreSQL paused", subject: subject, times: 20,
			start:    func(t *testing.T) { s.Pause(t) },
			duration: wait(100*time.Millisecond, 12*time.Second),
			end:      func(t *testing.T) { s.Continue(t) },
		},
		{
			name: "a process of PostgreSQL killed", subject: subject, times: 50,
			start: func(t *testing.T) { w.killSession(t, s) }, // the server ends all sessions and recovers
		},
		{
			name: "PostgreSQL read-only", subject: subject, times: 20, exclusive: true,
			start: func(t *testing.T) {
				s.Set(t, "default_transaction_read_only=on")
				terminate(t)
				w.load.AwaitRefusal(t)
			},
			end: func(t *testing.T) { s.Set(t, "default_transaction_read_only=off") },
		},
		{
			name: "PostgreSQL out of connections", subject: subject, times: 20, exclusive: true,
			start: func(t *testing.T) {
				release = occupy(t, s)
				w.load.AwaitRefusal(t)
			},
			end: func(*testing.T) { release() },
		},
		{
			name: "PostgreSQL's sessions terminated", subject: subject, times: 50,
			start: terminate,
		},
		{
			name: "disk of PostgreSQL full", subject: subject, times: 20, exclusive: true,
			start: func(t *testing.T) {
				disk.Fill(t)
				w.load.AwaitRefusal(t)
			},
			duration: wait(0, time.Second),
			end: func(t *testing.T) {
				disk.Empty(t)
				w.revive(t, s)
			},
		},
		{
			name: "disk of PostgreSQL read-only", subject: subject, times: 20, exclusive: true,
			start: func(t *testing.T) {
				disk.Fail(t)
				w.load.AwaitRefusal(t)
			},
			end: func(t *testing.T) {
				s.Kill()
				disk.Repair(t)
				s.Start(w.parent)
			},
		},
	}
}

// killSession kills the process of a session of the daemon, if it has one.
func (w *faultTest) killSession(t *testing.T, s *servers.PostgresServer) {
	t.Helper()
	var pid int
	err := w.db.QueryRow("SELECT pid FROM pg_stat_activity WHERE usename=$1 LIMIT 1", s.User).Scan(&pid)
	if errors.Is(err, sql.ErrNoRows) {
		return
	}
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}

// occupy opens connections of the daemon's user until the server has none left for the daemon.
func occupy(t *testing.T, s *servers.PostgresServer) (release func()) {
	t.Helper()
	db := s.ConnectUser(t)
	var held []*sql.Conn
	for refused := 0; refused < 10; { // the daemon may get a slot that a terminated session releases
		c, err := db.Conn(t.Context())
		if err == nil {
			held, refused = append(held, c), 0
			continue
		}
		refused++
		s.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename='"+s.User+"' AND application_name='goguerrillad'")
	}
	return func() {
		for _, c := range held {
			c.Close()
		}
		db.Close()
	}
}

// revive waits until the server accepts connections, and starts it if it has ended: a server
// that cannot write its log ends, and so does its recovery.
func (w *faultTest) revive(t *testing.T, s *servers.PostgresServer) {
	t.Helper()
	test.Await(t, nil, time.Minute, "wait for PostgreSQL", func() error {
		if s.Ended() {
			s.Launch(w.parent)
		}
		return w.db.Ping()
	})
}

func syncDisk(t *testing.T, d *servers.Disk) {
	t.Helper()
	dir, err := os.Open(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		t.Fatal(err)
	}
}

// postgresConnections is max_connections.
const postgresConnections = 20

// TestFaultsPostgres applies the faults of a daemon with PostgreSQL, Redis and a log file.
func TestFaultsPostgres(t *testing.T) {
	d := shared.Daemon(t, nil) // first, since it may skip the test
	database, log := servers.NewDisk(t, 400), servers.NewDisk(t, 64)
	s := servers.PostgresIn(t, database.Dir, "max_wal_size=64MB", "min_wal_size=32MB", fmt.Sprint("max_connections=", postgresConnections))
	s.CreateTable(t, "new_mail")
	syncDisk(t, database) // initdb has synced nothing
	proxy := servers.StartTCPProxy(t, s.Addr)
	redis := servers.Redis(t)
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, s.Keys())
	d.Configure(t, map[string]string{
		"POSTGRES_DSN": s.DSN(proxy.Addr), "REDIS_HOST": redis.Addr, "GSMTP_LOG_FILE": log.Dir + "/mail.log", "GSMTP_TIMEOUT": "30",
		"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
	})
	fewDescriptors(d)
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: s.Connect(t), log: d.Keys["GSMTP_LOG_FILE"]}
	w.startLoad(t)
	faults := w.daemonFaults(d, cert)
	faults = append(faults, w.postgresFaults(s, database)...)
	faults = append(faults, w.networkFaults(proxy)...)
	faults = append(faults, w.redisFaults(redis)...)
	faults = append(faults, w.logFaults(d, log)...)
	w.run(t, faults)
}
