package faults

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// ofDaemon are the faults of the daemon itself and of what it is given.
func (w *world) ofDaemon(d *daemon.Daemon, cert *test.Certificate) []fault {
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
func (w *world) badCertificate(d *daemon.Daemon, cert *test.Certificate, subject string) fault {
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
func fewDescriptors(d *daemon.Daemon) {
	d.Under = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, descriptors), "sh"}
}

// outOfDescriptors leaves the daemon no descriptor for new clients, for a new
// connection to its database, or for a new log. Clients cannot do that, since the
// daemon keeps a reserve.
func (w *world) outOfDescriptors(d *daemon.Daemon, subject string) fault {
	const nobody = 65534 // what root's daemon has become
	set := func(t *testing.T, n int) {
		cmd := exec.Command("prlimit", fmt.Sprintf("--pid=%d", d.Pid()), fmt.Sprintf("--nofile=%d:%d", n, descriptors))
		if os.Geteuid() == 0 { // only the daemon's own user needs no capability
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("set the limit of descriptors: %v\n%s", err, out)
		}
	}
	return fault{
		name: "out of descriptors", subject: subject, times: 20,
		ail:  func(t *testing.T) { set(t, 3) }, // the standard streams
		hold: func() time.Duration { return between(w.rand, 0, time.Second) },
		mend: func(t *testing.T) { set(t, descriptors) },
	}
}

// ofLog are the faults of the disk that the log lies on. A daemon cannot be
// started without its log.
func (w *world) ofLog(d *daemon.Daemon, disk *servers.Disk) []fault {
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
