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

// daemonFaults returns the faults of the daemon, its certificate and its descriptors.
func (w *faultTest) daemonFaults(d *daemon.Daemon, cert *test.Certificate) []fault {
	const subject = "daemon"
	return []fault{
		{
			name: "daemon killed", subject: subject, times: 200,
			start: func(*testing.T) { d.Kill() },
			end:   func(t *testing.T) { d.Start(w.parent) },
		},
		{
			name: "daemon paused", subject: subject, times: 20,
			start:    func(t *testing.T) { d.Process().Pause(t) },
			duration: func() time.Duration { return between(w.rand, 100*time.Millisecond, 3*time.Second) },
			end:      func(t *testing.T) { d.Process().Continue(t) },
		},
		{
			name: "100 reloads", subject: subject, times: 10,
			start: func(t *testing.T) {
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

// badCertificate returns the fault of a certificate that makes a reload fail.
func (w *faultTest) badCertificate(d *daemon.Daemon, cert *test.Certificate, subject string) fault {
	var good []byte
	write := func(t *testing.T, text []byte) {
		if err := os.WriteFile(cert.CertFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return fault{
		name: "reload with an invalid certificate", subject: subject, times: 10,
		start: func(t *testing.T) {
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
				t.Error("reload with an invalid certificate was not refused")
			}
		},
		duration: func() time.Duration { return between(w.rand, 0, time.Second) },
		end: func(t *testing.T) {
			write(t, good)
			if !d.Reload(t, nil) {
				t.Errorf("reload refused\n%s", w.logs())
			}
		},
	}
}

// descriptors is RLIMIT_NOFILE of the daemons.
const descriptors = 100

// fewDescriptors starts a daemon with a low RLIMIT_NOFILE.
func fewDescriptors(d *daemon.Daemon) {
	d.Wrapper = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, descriptors), "sh"}
}

// outOfDescriptors returns the fault of a daemon without descriptors for new clients,
// connections to its database, or a new log. Clients cannot cause this fault, since the
// daemon keeps a reserve.
func (w *faultTest) outOfDescriptors(d *daemon.Daemon, subject string) fault {
	set := func(t *testing.T, n int) {
		cmd := exec.Command("prlimit", fmt.Sprintf("--pid=%d", d.Pid()), fmt.Sprintf("--nofile=%d:%d", n, descriptors))
		if os.Geteuid() == 0 { // as the daemon's user, prlimit needs no capability
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.Nobody, Gid: test.Nobody}}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("prlimit: %v\n%s", err, out)
		}
	}
	return fault{
		name: "out of descriptors", subject: subject, times: 20,
		start:    func(t *testing.T) { set(t, 3) }, // only the standard streams
		duration: func() time.Duration { return between(w.rand, 0, time.Second) },
		end:      func(t *testing.T) { set(t, descriptors) },
	}
}

// logFaults returns the faults of the disk of the log. Their subject is the daemon, so
// that none is combined with a restart: the daemon cannot start without its log.
func (w *faultTest) logFaults(d *daemon.Daemon, disk *servers.Disk) []fault {
	const subject = "daemon"
	return []fault{
		{
			name: "disk of the log full", subject: subject, times: 20,
			start:    func(t *testing.T) { disk.Fill(t) },
			duration: func() time.Duration { return between(w.rand, 0, time.Second) },
			end:      func(t *testing.T) { disk.Empty(t) },
		},
		{
			name: "disk of the log read-only", subject: subject, times: 20,
			start:    func(t *testing.T) { disk.Fail(t) },
			duration: func() time.Duration { return between(w.rand, 0, time.Second) },
			end: func(t *testing.T) {
				disk.Repair(t)
				if !d.Reload(t, nil) {
					t.Errorf("reload refused\n%s", w.logs())
				}
			},
		},
	}
}
