package debian

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestBookworm tests the package on Debian 12.
func TestBookworm(t *testing.T) { testRelease(t, "bookworm") }

// TestTrixie tests the package on Debian 13.
func TestTrixie(t *testing.T) { testRelease(t, "trixie") }

// testRelease runs the steps from the installation to the purge of the package.
func testRelease(t *testing.T, release string) {
	m := boot(t, release)
	for _, step := range []struct {
		name string
		run  func(*machine, *testing.T)
	}{
		{"install", (*machine).install},
		{"activation", (*machine).activation},
		{"check", (*machine).check},
		{"privileges", (*machine).privileges},
		{"journal", (*machine).journal},
		{"reload", (*machine).reload},
		{"invalid configuration", (*machine).invalidConfiguration},
		{"crash loop", (*machine).crashLoop},
		{"restarts under load", (*machine).restarts},
		{"upgrade under load", (*machine).upgrade},
		{"watchdog", (*machine).watchdog},
		{"stop in a message", (*machine).stopInMessage},
		{"socket stopped", (*machine).socketStopped},
		{"credentials", (*machine).credentials},
		{"isolated", (*machine).isolated},
		{"sockets for proxies", (*machine).proxySockets},
		{"binding", (*machine).binding},
		{"root", (*machine).root},
		{"root without systemd", (*machine).withoutSystemd},
		{"autopkgtest", (*machine).autopkgtest},
		{"manual pages", (*machine).manualPages},
		{"examples", (*machine).examples},
		{"remove", (*machine).remove},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(m, t) }) {
			t.Fatalf("step %q failed, and the next steps depend on it", step.name)
		}
	}
}

// install: the installation enables and starts no unit and opens no port. The configuration
// has the right owner and mode.
func (m *machine) install(t *testing.T) {
	m.Run(t, "dpkg --install "+m.debs[0])
	if out, err := m.Try("systemd-analyze verify " + service + " " + socket); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v %s", err, out)
	}
	for _, unit := range []string{service, socket} {
		if state := m.show(t, unit, "UnitFileState"); state != "disabled" {
			t.Errorf("%s is %s, want disabled", unit, state)
		}
		if state := m.show(t, unit, "ActiveState"); state != "inactive" {
			t.Errorf("%s is %s, want inactive", unit, state)
		}
	}
	if err := m.refusesConnections("127.0.0.1:25"); err != nil {
		t.Error(err)
	}
	if got := m.Run(t, "stat --format='%U:%G %a' "+configFile); got != "root:goguerrilla 640" {
		t.Errorf("%s: %s, want root:goguerrilla 640", configFile, got)
	}
	m.Run(t, program+" -t")
}

// activation: the first connection starts the service. It accepts messages over IPv4 and IPv6.
func (m *machine) activation(t *testing.T) {
	m.configure(t, map[string]string{"GM_ALLOWED_HOSTS": ".", "GSMTP_HOST_NAME": "mx.example.com"})
	m.Run(t, "systemctl enable --now goguerrillad.socket")
	m.awaitProperty(t, socket, "ActiveState", "active")
	if state := m.show(t, service, "ActiveState"); state != "inactive" {
		t.Errorf("before the first connection the service is %s, want inactive", state)
	}
	for _, addr := range []string{"127.0.0.1:25", "[::1]:25"} {
		m.expectStored(t, m.send(t, addr))
	}
	m.awaitProperty(t, service, "ActiveState", "active")
	if status := m.show(t, service, "StatusText"); !strings.Contains(status, "session") || !strings.Contains(status, "store up") {
		t.Errorf("status %q, want the sessions and an available store", status)
	}
}

// privileges: no thread has a capability or can gain one.
func (m *machine) privileges(t *testing.T) {
	m.checkThreads(t, m.show(t, service, "MainPID"), "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "Seccomp:\t2")
	m.checkExposure(t, 1.1)
}

// checkThreads checks that all threads of a process run as the daemon's user, without any
// capability.
func (m *machine) checkThreads(t *testing.T, pid string, more ...string) {
	t.Helper()
	threads := strings.Fields(m.Run(t, "ls /proc/"+pid+"/task"))
	if len(threads) < 2 {
		t.Errorf("threads %q, want at least 2", threads)
	}
	uid, gid := m.Run(t, "id --user goguerrilla"), m.Run(t, "id --group goguerrilla")
	for _, thread := range threads {
		status := m.Run(t, "cat /proc/"+pid+"/task/"+thread+"/status")
		for _, want := range append([]string{
			"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1",
			"Uid:\t" + strings.Join([]string{uid, uid, uid, uid}, "\t"),
			"Gid:\t" + strings.Join([]string{gid, gid, gid, gid}, "\t"),
		}, more...) {
			if !strings.Contains(status, want+"\n") {
				t.Errorf("the status of thread %s does not contain %q:\n%s", thread, want, status)
			}
		}
	}
}

// journal: journalctl finds a message by each of its hashes, with all its fields.
func (m *machine) journal(t *testing.T) {
	c, err := m.Connect("127.0.0.1:25", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	reply, err := c.Send("sender@example.org", "", []string{"b@example.com", "c@example.com"}, []byte("Subject: x\r\n\r\ntext\r\n"))
	if err != nil || reply.Code != 250 {
		t.Fatalf("reply %v, %v, want 250", reply, err)
	}
	var entry map[string]any
	find := func(match string) {
		t.Helper()
		test.Await(t, nil, 10*time.Second, "waiting for the entry "+match, func() error {
			out, err := m.Try("journalctl --output=json --all " + match)
			if lines := strings.Split(out, "\n"); err != nil || len(lines) != 1 || json.Unmarshal([]byte(out), &entry) != nil {
				return fmt.Errorf("journalctl: %v, %s", err, out)
			}
			return nil
		})
	}
	find("GOGUERRILLA_HASH=" + reply.Hash())
	hashes, _ := entry["GOGUERRILLA_HASH"].([]any)
	if len(hashes) != 2 || fmt.Sprint(entry["GOGUERRILLA_TO"]) != "[b@example.com c@example.com]" {
		t.Fatalf("hashes %v, recipients %v, want two of each", hashes, entry["GOGUERRILLA_TO"])
	}
	find(fmt.Sprintf("GOGUERRILLA_HASH=%s", hashes[1]))
	for field, want := range map[string]string{
		"GOGUERRILLA_FROM": "sender@example.org", "GOGUERRILLA_REMOTE": "127.0.0.1", "GOGUERRILLA_SIZE": "20",
		"GOGUERRILLA_REPLY": "250 2.0.0 OK: queued as " + reply.Hash(), "PRIORITY": "6", "_SYSTEMD_UNIT": service,
		"SYSLOG_IDENTIFIER": "goguerrillad", "_TRANSPORT": "journal",
	} {
		if entry[field] != want {
			t.Errorf("%s is %v, want %q", field, entry[field], want)
		}
	}
	if entry["GOGUERRILLA_SESSION"] == "" || !strings.Contains(fmt.Sprint(entry["MESSAGE"]), "message accepted") {
		t.Errorf("session %v, message %v", entry["GOGUERRILLA_SESSION"], entry["MESSAGE"])
	}
}

// reload: the daemon applies a valid configuration, and refuses an invalid configuration
// with the reason. An open session continues in both cases.
func (m *machine) reload(t *testing.T) {
	pid := m.show(t, service, "MainPID")
	c, err := m.Connect("127.0.0.1:25", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m.configure(t, map[string]string{"GM_ALLOWED_HOSTS": "example.net"})
	m.Run(t, "systemctl reload "+service)
	m.awaitReply(t, 550)
	m.configure(t, map[string]string{"GM_ALLOWED_HOSTS": ".", "GSMTP_TIMEOUT": "soon"})
	out, err := m.Try("systemctl reload " + service)
	if err == nil {
		t.Error("systemctl reload succeeded with an invalid configuration")
	}
	out += m.Run(t, "systemctl status --no-pager "+service+" || true")
	if !strings.Contains(out, "GSMTP_TIMEOUT") {
		t.Errorf("systemctl does not print the reason: %s", out)
	}
	if reply, err := sendMessage(m.Box, "127.0.0.1:25", "b@example.com"); err != nil || reply.Code != 550 {
		t.Errorf("after the refused reload: reply %v, %v, want 550", reply, err)
	}
	m.configure(t, map[string]string{"GSMTP_TIMEOUT": "100"})
	m.Run(t, "systemctl reload "+service)
	m.awaitReply(t, 250)
	if err := c.Hello(); err != nil {
		t.Errorf("the session from before the reloads: %v", err)
	}
	m.send(t, "127.0.0.1:25")
	if now := m.show(t, service, "MainPID"); now != pid {
		t.Errorf("the reload replaced process %s by %s", pid, now)
	}
}

// awaitReply sends messages until the reply has a code. systemd 252 may report the end of a
// reload before the daemon has begun it.
func (m *machine) awaitReply(t *testing.T, code int) {
	t.Helper()
	test.Await(t, nil, 20*time.Second, "waiting for the effect of the reload", func() error {
		reply, err := sendMessage(m.Box, "127.0.0.1:25", "b@example.com")
		if err == nil && reply.Code != code {
			err = fmt.Errorf("reply %v", reply)
		}
		return err
	})
}
