package faults

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"goguerrillad/internal/testserver"
)

// ofDaemon are the faults of the daemon itself and of what it is given.
func (w *world) ofDaemon(d *testserver.Daemon, cert *testserver.Certificate) []fault {
	const subject = "daemon"
	return []fault{
		{
			name: "daemon killed", subject: subject, times: 200,
			ail:  func(*testing.T) { d.Kill() },
			mend: func(t *testing.T) { d.Start(w.whole) },
		},
		{
			name: "daemon stopped for a while", subject: subject, times: 20,
			ail:  func(t *testing.T) { d.Process().Pause(t) },
			hold: func() time.Duration { return between(w.rand, 100*time.Millisecond, 3*time.Second) },
			mend: func(t *testing.T) { d.Process().Continue(t) },
		},
		{
			name: "100 reloads", subject: subject, times: 10,
			ail: func(t *testing.T) {
				for i := range 100 {
					if !d.Reload(t, map[string]string{"GSMTP_MAX_SIZE": strconv.Itoa(20_000_000 + i)}) {
						t.Fatalf("reload refused\n%s", w.logs())
					}
				}
			},
		},
		w.badCertificate(d, cert, subject),
		w.outOfDescriptors(d, subject),
	}
}

// badCertificate has a reload refused.
func (w *world) badCertificate(d *testserver.Daemon, cert *testserver.Certificate, subject string) fault {
	var good []byte
	write := func(t *testing.T, text []byte) {
		if err := os.WriteFile(cert.CertFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return fault{
		name: "certificate of garbage before a reload", subject: subject, times: 10,
		ail: func(t *testing.T) {
			var err error
			if good, err = os.ReadFile(cert.CertFile); err != nil {
				t.Fatal(err)
			}
			garbage := make([]byte, len(good))
			for i := range garbage {
				garbage[i] = byte(w.rand.Uint32())
			}
			write(t, garbage)
			if d.Reload(t, nil) {
				t.Error("garbage was taken for a certificate")
			}
		},
		hold: func() time.Duration { return between(w.rand, 0, time.Second) },
		mend: func(t *testing.T) {
			write(t, good)
			if !d.Reload(t, nil) {
				t.Errorf("reload refused\n%s", w.logs())
			}
		},
	}
}

// descriptors is how many a daemon has in these tests.
const descriptors = 100

// fewDescriptors has a daemon start with no more than that.
func fewDescriptors(d *testserver.Daemon) {
	d.Under = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, descriptors), "sh"}
}

// outOfDescriptors leaves the daemon no descriptor for new clients, for a new
// connection to its database, or for a new log.
func (w *world) outOfDescriptors(d *testserver.Daemon, subject string) fault {
	var crowd []net.Conn
	return fault{
		name: "out of descriptors", subject: subject, times: 20,
		ail: func(t *testing.T) {
			for greeted := true; greeted; {
				c, err := net.Dial("tcp", d.Addr) // the kernel takes it in any case
				if err != nil {
					t.Fatal(err)
				}
				c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				_, err = c.Read(make([]byte, 1))
				greeted = err == nil
				if crowd = append(crowd, c); len(crowd) > descriptors {
					t.Fatalf("%d connections are greeted with %d descriptors", len(crowd), descriptors)
				}
			}
		},
		hold: func() time.Duration { return between(w.rand, 0, time.Second) },
		mend: func(*testing.T) {
			for _, c := range crowd {
				c.Close()
			}
			crowd = nil
		},
	}
}

// ofLog are the faults of the disk that the log lies on. A daemon cannot be
// started without its log.
func (w *world) ofLog(d *testserver.Daemon, disk *testserver.Disk) []fault {
	const subject = "daemon"
	return []fault{
		{
			name: "disk of the log full", subject: subject, times: 20,
			ail:  func(t *testing.T) { disk.Fill(t) },
			hold: func() time.Duration { return between(w.rand, 0, time.Second) },
			mend: func(t *testing.T) { disk.Empty(t) },
		},
		{
			name: "disk of the log read-only", subject: subject, times: 20,
			ail:  func(t *testing.T) { disk.Fail(t) },
			hold: func() time.Duration { return between(w.rand, 0, time.Second) },
			mend: func(t *testing.T) {
				disk.Repair(t)
				if !d.Reload(t, nil) {
					t.Errorf("reload refused\n%s", w.logs())
				}
			},
		},
	}
}
