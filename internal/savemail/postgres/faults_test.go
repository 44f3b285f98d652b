package postgres_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/savemail/postgres"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

// A fault is a failure of a server that can be injected and repaired.
type fault struct {
	name   string
	inject func(t *testing.T, b *testbed, l *storetest.Load)
	repair func(t *testing.T, b *testbed)
}

// faults returns the faults that need no server of their own.
func faults() []fault {
	nothing := func(*testing.T, *testbed) {}
	return []fault{
		{
			"killed",
			func(_ *testing.T, b *testbed, _ *storetest.Load) { b.server.Kill() },
			func(_ *testing.T, b *testbed) { b.server.Start(b.parent) },
		},
		{
			"restarted",
			func(t *testing.T, b *testbed, _ *storetest.Load) {
				if err := b.server.Stop(); err != nil {
					t.Error(err)
				}
			},
			func(_ *testing.T, b *testbed) { b.server.Start(b.parent) },
		},
		{
			"process crashed", // the server ends all sessions, recovers and continues
			func(t *testing.T, b *testbed, _ *storetest.Load) { b.crashSession(t) },
			nothing,
		},
		{
			"stopped", // for longer than the reply timeout
			func(t *testing.T, b *testbed, _ *storetest.Load) {
				b.server.Pause(t)
				time.Sleep(storetest.LoadTimeout/3 + time.Second) // the duration of the fault
			},
			func(t *testing.T, b *testbed) { b.server.Continue(t) },
		},
		{
			"read only",
			func(t *testing.T, b *testbed, l *storetest.Load) {
				b.server.Exec(t, "REVOKE INSERT ON "+b.table+" FROM "+b.server.User)
				l.AwaitFailure(t)
			},
			func(t *testing.T, b *testbed) {
				b.server.Exec(t, "GRANT INSERT ON "+b.table+" TO "+b.server.User)
			},
		},
		{
			"out of connections",
			func(t *testing.T, b *testbed, l *storetest.Load) {
				b.server.Exec(t, "ALTER ROLE "+b.server.User+" CONNECTION LIMIT 0")
				b.terminate(t)
				l.AwaitFailure(t)
			},
			func(t *testing.T, b *testbed) {
				b.server.Exec(t, "ALTER ROLE "+b.server.User+" CONNECTION LIMIT -1")
			},
		},
		{"sessions terminated", func(t *testing.T, b *testbed, _ *storetest.Load) { b.terminate(t) }, nothing},
		{
			"statements canceled",
			func(t *testing.T, b *testbed, _ *storetest.Load) {
				for range 20 {
					b.server.Exec(t, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename='"+b.server.User+"'")
				}
			},
			nothing,
		},
	}
}

// terminate terminates all sessions of the daemon's user.
func (b *testbed) terminate(t *testing.T) {
	t.Helper()
	b.server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename='"+b.server.User+"'")
}

// testFaults injects a fault under load, repairs it, and verifies the outcomes.
func testFaults(f fault) func(*testing.T, *testbed) {
	return func(t *testing.T, b *testbed) {
		o := b.options()
		l := storetest.StartLoad(t, b.open(t, func(o *postgres.Options) { o.Timeout = storetest.LoadTimeout }), o.Log)
		l.AwaitProgress(t, 50)
		for range storetest.Repetitions(3, 30) {
			f.inject(t, b, l)
			f.repair(t, b)
			l.AwaitProgress(t, 50)
		}
		l.Stop(t)
		test.Await(t, nil, 10*time.Second, "the server does not reply", b.db.Ping)
		if n := l.Verify(t, b.rows(t)); n > 0 {
			t.Logf("%d failed messages are stored\n%s", n, b.log)
		}
	}
}

// crashSession kills the process of a session of the daemon's user.
func (b *testbed) crashSession(t *testing.T) {
	t.Helper()
	var pid int
	test.Await(t, nil, 10*time.Second, "no session", func() error {
		return b.db.QueryRow("SELECT pid FROM pg_stat_activity WHERE usename=$1 LIMIT 1", b.server.User).Scan(&pid)
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
}
