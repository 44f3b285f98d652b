package debian

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestBookworm and TestTrixie: the package's life, from its installation to
// its purge, on the systemd of Debian 12 and of Debian 13.
func TestBookworm(t *testing.T) { life(t, "bookworm") }

func TestTrixie(t *testing.T) { life(t, "trixie") }

func life(t *testing.T, release string) {
	m := boot(t, release)
	for _, step := range []struct {
		name string
		run  func(*machine, *testing.T)
	}{
		{"install", (*machine).install},
		{"activation", (*machine).activation},
		{"privileges", (*machine).privileges},
		{"journal", (*machine).journal},
		{"reload", (*machine).reload},
		{"broken configuration", (*machine).broken},
		{"crash loop", (*machine).crashes},
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
		{"root by hand", (*machine).byHand},
		{"autopkgtest", (*machine).autopkgtest},
		{"manual pages", (*machine).manual},
		{"examples", (*machine).examples},
		{"remove", (*machine).remove},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(m, t) }) {
			t.Fatal("the steps build on one another")
		}
	}
}

// install: nothing is enabled, opened or started; the files belong to whom
// they should.
func (m *machine) install(t *testing.T) {
	// What README tells people to do is what is tested.
	m.readme = readme(t)
	m.documented(t, "dpkg --install build/goguerrillad_*.deb", "dpkg --install "+m.debs[0])
	if out, err := m.Try("systemd-analyze verify " + service + " " + socket); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v %s", err, out)
	}
	for _, unit := range []string{service, socket} {
		if state := m.show(t, unit, "UnitFileState"); state != "disabled" {
			t.Errorf("%s is %s", unit, state)
		}
		if state := m.show(t, unit, "ActiveState"); state != "inactive" {
			t.Errorf("%s is %s", unit, state)
		}
	}
	if err := m.refuses("127.0.0.1:25"); err != nil {
		t.Error(err)
	}
	if got := m.Run(t, "stat --format='%U:%G %a' "+configFile); got != "root:goguerrilla 640" {
		t.Errorf("%s: %s", configFile, got)
	}
	m.Run(t, program+" -t")
}

// activation: the first connection starts the service, over IPv4 and IPv6.
func (m *machine) activation(t *testing.T) {
	m.configure(t, map[string]string{"GM_ALLOWED_HOSTS": ".", "GSMTP_HOST_NAME": "mx.example.com"})
	m.documented(t, "systemctl enable --now goguerrillad.socket", "systemctl enable --now goguerrillad.socket")
	m.is(t, socket, "ActiveState", "active")
	if state := m.show(t, service, "ActiveState"); state != "inactive" {
		t.Errorf("before the first client the service is %s", state)
	}
	for _, addr := range []string{"127.0.0.1:25", "[::1]:25"} {
		m.stored(t, m.takes(t, addr))
	}
	m.is(t, service, "ActiveState", "active")
	if status := m.show(t, service, "StatusText"); !strings.Contains(status, "sessions") || !strings.Contains(status, "store up") {
		t.Errorf("status %q", status)
	}
}

// privileges: no thread has a right that it does not need, nor a way to one.
func (m *machine) privileges(t *testing.T) {
	m.powerless(t, m.show(t, service, "MainPID"), "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "Seccomp:\t2")
	m.exposure(t, 1.1)
}

// powerless wants all threads of a process to be the daemon's own user, with
// no right beyond that.
func (m *machine) powerless(t *testing.T, pid string, more ...string) {
	t.Helper()
	threads := strings.Fields(m.Run(t, "ls /proc/"+pid+"/task"))
	if len(threads) < 2 {
		t.Errorf("threads %q", threads)
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
				t.Errorf("thread %s has not %q:\n%s", thread, want, status)
			}
		}
	}
}

// journal: a mail is found by any of its hashes, with all that is known of it.
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
		t.Fatal(reply, err)
	}
	var entry map[string]any
	find := func(match string) {
		t.Helper()
		test.Await(t, nil, 10*time.Second, "no entry "+match, func() error {
			out, err := m.Try("journalctl --output=json --all " + match)
			if lines := strings.Split(out, "\n"); err != nil || len(lines) != 1 || json.Unmarshal([]byte(out), &entry) != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	find("GOGUERRILLA_HASH=" + reply.Hash())
	hashes, _ := entry["GOGUERRILLA_HASH"].([]any)
	if len(hashes) != 2 || fmt.Sprint(entry["GOGUERRILLA_TO"]) != "[b@example.com c@example.com]" {
		t.Fatalf("two recipients: %v", entry)
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
		t.Errorf("entry %v", entry)
	}
}

// reload: a good file is taken, a broken one is refused with its line, and the
// session goes on in either case.
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
		t.Error("a broken file was taken")
	}
	out += m.Run(t, "systemctl status --no-pager "+service+" || true")
	if !strings.Contains(out, "GSMTP_TIMEOUT") {
		t.Errorf("the reason is not shown: %s", out)
	}
	if reply, err := sendMail(m.Box, "127.0.0.1:25", "b@example.com"); err != nil || reply.Code != 550 {
		t.Errorf("after the refused reload: %v, %v", reply, err)
	}
	m.configure(t, map[string]string{"GSMTP_TIMEOUT": "100"})
	m.Run(t, "systemctl reload "+service)
	m.awaitReply(t, 250)
	if err := c.Hello(); err != nil {
		t.Errorf("the session: %v", err)
	}
	m.takes(t, "127.0.0.1:25")
	if now := m.show(t, service, "MainPID"); now != pid {
		t.Errorf("process %s became %s", pid, now)
	}
}

// awaitReply waits until a message gets this reply. systemd 252 may end a reload before
// the daemon has begun with it.
func (m *machine) awaitReply(t *testing.T, code int) {
	t.Helper()
	test.Await(t, nil, 20*time.Second, "the reload has no effect", func() error {
		reply, err := sendMail(m.Box, "127.0.0.1:25", "b@example.com")
		if err == nil && reply.Code != code {
			err = fmt.Errorf("reply %v", reply)
		}
		return err
	})
}

// broken: a configuration that is refused at the start neither loops nor keeps
// clients hanging, and a restart alone mends all.
func (m *machine) broken(t *testing.T) {
	m.configure(t, map[string]string{"GSMTP_TIMEOUT": "soon"})
	m.Run(t, "systemctl stop "+service+" 2>/dev/null; systemctl reset-failed; true")
	begun := time.Now()
	test.Await(t, nil, 30*time.Second, "clients are left hanging", func() error {
		c, err := m.Connect("127.0.0.1:25", 20*time.Second)
		if err == nil {
			c.Close()
			return fmt.Errorf("somebody greets: %v", c.Greeting)
		}
		return m.refuses("127.0.0.1:25")
	})
	t.Logf("the port closes after %v", time.Since(begun).Round(10*time.Millisecond))
	if out := m.Run(t, "systemctl status --no-pager "+service+" || true"); !strings.Contains(out, "configuration refused") || !strings.Contains(out, "GSMTP_TIMEOUT") {
		t.Errorf("status: %s", out)
	}
	m.configure(t, map[string]string{"GSMTP_TIMEOUT": "100"})
	m.Run(t, "systemctl restart "+service)
	m.stored(t, m.takes(t, "127.0.0.1:25"))
}

// crashes: killed twice a second for ten seconds, it comes back by itself, and
// no mail is lost. The port may close meanwhile: senders try again.
func (m *machine) crashes(t *testing.T) {
	l := startLoad(m.Box)
	l.progress(t, 5)
	for range 20 {
		m.Try("systemctl kill --signal=KILL " + service)
		time.Sleep(500 * time.Millisecond) // the crash loop's own pace
	}
	l.progress(t, 20)
	l.stop(t)
	m.takes(t, "127.0.0.1:25")
}

// restarts: nobody is refused or cut off without a word.
func (m *machine) restarts(t *testing.T) {
	l := startLoad(m.Box)
	for range 4 {
		l.progress(t, 20)
		m.Run(t, "systemctl restart "+service)
	}
	l.progress(t, 20)
	l.stop(t)
	if l.refused > 0 || l.reset > 0 {
		t.Errorf("%d connections were refused, %d reset", l.refused, l.reset)
	}
}

// watchdog: a process that makes no progress is ended and started anew.
func (m *machine) watchdog(t *testing.T) {
	m.dropIn(t, "watchdog.conf", "[Service]\nWatchdogSec=4s\nRestartSec=500ms\n")
	defer m.noDropIn(t)
	m.Run(t, "systemctl restart "+service)
	m.takes(t, "127.0.0.1:25")
	pid := m.show(t, service, "MainPID")
	m.Run(t, "kill -STOP "+pid)
	test.Await(t, nil, 30*time.Second, "the watchdog does not act", func() error {
		if now := m.show(t, service, "MainPID"); now == pid || now == "0" {
			return errors.New("process " + now)
		}
		return nil
	})
	m.takes(t, "127.0.0.1:25")
}

// stopInMessage: a transaction in flight is finished.
func (m *machine) stopInMessage(t *testing.T) {
	c, err := m.Connect("127.0.0.1:25", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, line := range []string{"EHLO client.test", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"} {
		if _, err := c.Expect(250, "%s", line); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Expect(354, "DATA"); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c.Conn, "Subject: x\r\n\r\nte")
	m.Run(t, "systemctl stop --no-block "+service)
	m.is(t, service, "ActiveState", "deactivating")
	io.WriteString(c.Conn, "xt\r\n.\r\n")
	reply, err := c.Reply()
	if err != nil || reply.Code != 250 {
		t.Fatalf("%v, %v", reply, err)
	}
	if reply, err := c.Reply(); err != nil || reply.Code != 421 {
		t.Errorf("then %v, %v", reply, err)
	}
	m.stored(t, reply.Hash())
}

// socketStopped: when the socket is stopped, nobody listens any more.
func (m *machine) socketStopped(t *testing.T) {
	m.takes(t, "127.0.0.1:25")
	m.Run(t, "systemctl stop "+socket)
	m.is(t, service, "ActiveState", "inactive")
	if err := m.refuses("127.0.0.1:25"); err != nil {
		t.Error(err)
	}
	m.Run(t, "systemctl start "+socket)
	m.takes(t, "127.0.0.1:25")
}
