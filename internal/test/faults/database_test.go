package faults

import (
	"fmt"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// mariaDBFaults returns the faults of a server and of its disk.
func (w *faultTest) mariaDBFaults(m *servers.MariaDBServer, disk *servers.Disk) []fault {
	const subject = "MariaDB"
	wait := func(low, high time.Duration) func() time.Duration {
		return func() time.Duration { return between(w.rand, low, high) }
	}
	return []fault{
		{
			name: "MariaDB killed", subject: subject, times: 200,
			start:    func(*testing.T) { m.Kill() },
			duration: wait(0, time.Second),
			end:      func(*testing.T) { m.Start(w.parent) },
		},
		{
			name: "MariaDB restarted", subject: subject, times: 20,
			start: func(*testing.T) { m.Stop() },
			end:   func(*testing.T) { m.Start(w.parent) },
		},
		{
			name: "MariaDB paused", subject: subject, times: 20,
			start:    func(t *testing.T) { m.Pause(t) },
			duration: wait(100*time.Millisecond, 12*time.Second),
			end:      func(t *testing.T) { m.Continue(t) },
		},
		{
			name: "MariaDB read-only", subject: subject, times: 20, exclusive: true,
			start: func(t *testing.T) {
				m.Exec(t, "SET GLOBAL read_only=ON")
				w.load.AwaitRefusal(t)
			},
			end: func(t *testing.T) { m.Exec(t, "SET GLOBAL read_only=OFF") },
		},
		{
			name: "MariaDB's sessions killed", subject: subject, times: 50,
			start: func(t *testing.T) {
				rows, err := w.db.Query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER='goguerrilla'")
				if err != nil {
					t.Fatal(err)
				}
				defer rows.Close()
				for rows.Next() {
					var id int
					if err := rows.Scan(&id); err != nil {
						t.Fatal(err)
					}
					w.db.Exec(fmt.Sprintf("KILL %d", id)) // fails if the session has already ended
				}
			},
		},
		{
			name: "disk of MariaDB full", subject: subject, times: 20, exclusive: true,
			start: func(t *testing.T) {
				disk.Fill(t)
				w.load.AwaitRefusal(t)
			},
			duration: wait(0, time.Second),
			end:      func(t *testing.T) { disk.Empty(t) },
		},
		{
			name: "disk of MariaDB read-only", subject: subject, times: 20, exclusive: true,
			start: func(t *testing.T) {
				disk.Fail(t)
				w.load.AwaitRefusal(t)
			},
			end: func(t *testing.T) {
				m.Kill()
				disk.Repair(t)
				m.Start(w.parent)
			},
		},
	}
}

// networkFaults returns the faults of the connections between the daemon and the database.
func (w *faultTest) networkFaults(proxy *servers.TCPProxy) []fault {
	const subject = "network"
	cut := func(name string, s servers.TCPFault, maxBytes int) fault {
		return fault{name: name, subject: subject, times: 150, exclusive: true, start: func(t *testing.T) {
			cuts := proxy.Cuts()
			s.After = w.rand.IntN(maxBytes)
			proxy.Inject(s)
			test.Await(t, nil, 20*time.Second, "cutting a connection", func() error {
				if proxy.Cuts() == cuts {
					return fmt.Errorf("no connection was cut")
				}
				return nil
			})
		}}
	}
	lasting := func(name string, s servers.TCPFault, times int, maxDuration time.Duration) fault {
		return fault{name: name, subject: subject, times: times,
			start: func(*testing.T) {
				s.After = w.rand.IntN(200)
				proxy.Inject(s)
			},
			duration: func() time.Duration { return between(w.rand, 0, maxDuration) },
			end:      func(*testing.T) { proxy.Clear() },
		}
	}
	return []fault{
		// A reply has about 12 bytes, a statement thousands.
		cut("replies cut off", servers.TCPFault{ToClient: true}, 200),
		cut("replies cut off by a reset", servers.TCPFault{ToClient: true, Reset: true}, 200),
		cut("statements cut off", servers.TCPFault{}, 100_000),
		cut("statements cut off by a reset", servers.TCPFault{Reset: true}, 100_000),
		lasting("replies dropped", servers.TCPFault{ToClient: true, Hang: true}, 20, 12*time.Second),
		lasting("statements dropped", servers.TCPFault{Hang: true}, 20, 12*time.Second),
		lasting("replies delayed", servers.TCPFault{ToClient: true, Delay: 500 * time.Millisecond}, 10, 3*time.Second),
		lasting("statements delayed", servers.TCPFault{Delay: 500 * time.Millisecond}, 10, 3*time.Second),
	}
}

// redisFaults returns the faults of a Redis that stores copies of the messages.
func (w *faultTest) redisFaults(r *servers.RedisServer) []fault {
	const subject = "Redis"
	return []fault{
		{
			name: "Redis killed", subject: subject, times: 50,
			start:    func(*testing.T) { r.Kill() },
			duration: func() time.Duration { return between(w.rand, 0, time.Second) },
			end:      func(*testing.T) { r.Start(w.parent) },
		},
		{
			name: "Redis paused", subject: subject, times: 20,
			start:    func(t *testing.T) { r.Pause(t) },
			duration: func() time.Duration { return between(w.rand, 100*time.Millisecond, 3*time.Second) },
			end:      func(t *testing.T) { r.Continue(t) },
		},
	}
}

// TestFaults applies the faults of a daemon with MariaDB, Redis and a log file.
func TestFaults(t *testing.T) {
	d := shared.Daemon(t, nil) // first, since it may skip the test
	database, log := servers.NewDisk(t, 800), servers.NewDisk(t, 64)
	m := servers.MariaDBIn(t, database.Dir, "--innodb-log-file-size=16M")
	m.CreateTable(t, "new_mail")
	proxy := servers.StartTCPProxy(t, m.Addr)
	redis := servers.Redis(t)
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, m.Keys())
	d.Configure(t, map[string]string{
		"MYSQL_HOST": proxy.Addr, "REDIS_HOST": redis.Addr, "GSMTP_LOG_FILE": log.Dir + "/mail.log", "GSMTP_TIMEOUT": "30",
		"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
	})
	fewDescriptors(d)
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: m.Connect(t), log: d.Keys["GSMTP_LOG_FILE"]}
	w.startLoad(t)
	faults := w.daemonFaults(d, cert)
	faults = append(faults, w.mariaDBFaults(m, database)...)
	faults = append(faults, w.networkFaults(proxy)...)
	faults = append(faults, w.redisFaults(redis)...)
	faults = append(faults, w.logFaults(d, log)...)
	w.run(t, faults)
}
