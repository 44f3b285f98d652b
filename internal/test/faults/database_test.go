package faults

import (
	"fmt"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// ofMariaDB are the faults of a server and of the disk that it lies on.
func (w *world) ofMariaDB(m *servers.MariaDBServer, disk *servers.Disk) []fault {
	const subject = "MariaDB"
	wait := func(least, most time.Duration) func() time.Duration {
		return func() time.Duration { return between(w.rand, least, most) }
	}
	return []fault{
		{
			name: "MariaDB killed", subject: subject, times: 200,
			ail:  func(*testing.T) { m.Kill() },
			hold: wait(0, time.Second),
			mend: func(*testing.T) { m.Start(w.whole) },
		},
		{
			name: "MariaDB restarted", subject: subject, times: 20,
			ail:  func(*testing.T) { m.Stop() },
			mend: func(*testing.T) { m.Start(w.whole) },
		},
		{
			name: "MariaDB stopped for a while", subject: subject, times: 20,
			ail:  func(t *testing.T) { m.Pause(t) },
			hold: wait(100*time.Millisecond, 12*time.Second),
			mend: func(t *testing.T) { m.Continue(t) },
		},
		{
			name: "MariaDB read-only", subject: subject, times: 20, alone: true,
			ail: func(t *testing.T) {
				m.Exec(t, "SET GLOBAL read_only=ON")
				w.load.AwaitRefusal(t)
			},
			mend: func(t *testing.T) { m.Exec(t, "SET GLOBAL read_only=OFF") },
		},
		{
			name: "MariaDB's sessions killed", subject: subject, times: 50,
			ail: func(t *testing.T) {
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
					w.db.Exec(fmt.Sprintf("KILL %d", id)) // it may have ended by itself, which is as good
				}
			},
		},
		{
			name: "disk of MariaDB full", subject: subject, times: 20, alone: true,
			ail: func(t *testing.T) {
				disk.Fill(t)
				w.load.AwaitRefusal(t)
			},
			hold: wait(0, time.Second),
			mend: func(t *testing.T) { disk.Empty(t) },
		},
		{
			name: "disk of MariaDB read-only", subject: subject, times: 20, alone: true,
			ail: func(t *testing.T) {
				disk.Fail(t)
				w.load.AwaitRefusal(t)
			},
			mend: func(t *testing.T) {
				m.Kill()
				disk.Repair(t)
				m.Start(w.whole)
			},
		},
	}
}

// ofWire are the faults of the network between daemon and database.
func (w *world) ofWire(wire *servers.Wire) []fault {
	const subject = "network"
	cut := func(name string, s servers.Snip, most int) fault {
		return fault{name: name, subject: subject, times: 150, alone: true, ail: func(t *testing.T) {
			cuts := wire.Cuts()
			s.After = w.rand.IntN(most)
			wire.Snip(s)
			test.Await(t, nil, 20*time.Second, "the connection is cut", func() error {
				if wire.Cuts() == cuts {
					return fmt.Errorf("not yet")
				}
				return nil
			})
		}}
	}
	last := func(name string, s servers.Snip, times int, most time.Duration) fault {
		return fault{name: name, subject: subject, times: times,
			ail: func(*testing.T) {
				s.After = w.rand.IntN(200)
				wire.Snip(s)
			},
			hold: func() time.Duration { return between(w.rand, 0, most) },
			mend: func(*testing.T) { wire.Mend() },
		}
	}
	return []fault{
		// An answer has some twelve bytes, a statement thousands.
		cut("answers cut off", servers.Snip{Back: true}, 200),
		cut("answers cut off by a reset", servers.Snip{Back: true, Reset: true}, 200),
		cut("statements cut off", servers.Snip{}, 100_000),
		cut("statements cut off by a reset", servers.Snip{Reset: true}, 100_000),
		last("answers swallowed", servers.Snip{Back: true, Hang: true}, 20, 12*time.Second),
		last("statements swallowed", servers.Snip{Hang: true}, 20, 12*time.Second),
		last("answers delayed", servers.Snip{Back: true, Delay: 500 * time.Millisecond}, 10, 3*time.Second),
		last("statements delayed", servers.Snip{Delay: 500 * time.Millisecond}, 10, 3*time.Second),
	}
}

// ofRedis are the faults of a Redis that has copies.
func (w *world) ofRedis(r *servers.RedisServer) []fault {
	const subject = "Redis"
	return []fault{
		{
			name: "Redis killed", subject: subject, times: 50,
			ail:  func(*testing.T) { r.Kill() },
			hold: func() time.Duration { return between(w.rand, 0, time.Second) },
			mend: func(*testing.T) { r.Start(w.whole) },
		},
		{
			name: "Redis stopped for a while", subject: subject, times: 20,
			ail:  func(t *testing.T) { r.Pause(t) },
			hold: func() time.Duration { return between(w.rand, 100*time.Millisecond, 3*time.Second) },
			mend: func(t *testing.T) { r.Continue(t) },
		},
	}
}

// TestFaults breaks what a daemon with MariaDB, Redis and a log stands on.
func TestFaults(t *testing.T) {
	d := shared.Daemon(t, nil) // first: it knows whether all of this is to be skipped
	database, log := servers.NewDisk(t, 800), servers.NewDisk(t, 64)
	m := servers.MariaDBIn(t, database.Dir, "--innodb-log-file-size=16M")
	m.CreateTable(t, "new_mail")
	wire := servers.StartWire(t, m.Addr)
	redis := servers.Redis(t)
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, m.Keys())
	d.Configure(t, map[string]string{
		"MYSQL_HOST": wire.Addr, "REDIS_HOST": redis.Addr, "GSMTP_LOG_FILE": log.Dir + "/mail.log", "GSMTP_TIMEOUT": "30",
		"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
	})
	fewDescriptors(d)
	d.Start(t)
	w := &world{whole: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: m.Connect(t), log: d.Keys["GSMTP_LOG_FILE"]}
	w.startLoad(t)
	faults := w.ofDaemon(d, cert)
	faults = append(faults, w.ofMariaDB(m, database)...)
	faults = append(faults, w.ofWire(wire)...)
	faults = append(faults, w.ofRedis(redis)...)
	faults = append(faults, w.ofLog(d, log)...)
	w.run(t, faults)
}
