package debian

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// invalidConfiguration: a configuration that is refused at the start causes no restart loop,
// and no client waits without a reply. After a correction of the file a restart is enough.
func (m *machine) invalidConfiguration(t *testing.T) {
	m.configure(t, map[string]string{"GSMTP_TIMEOUT": "soon"})
	m.Run(t, "systemctl stop "+service+" 2>/dev/null; systemctl reset-failed; true")
	began := time.Now()
	test.Await(t, nil, 30*time.Second, "waiting for systemd to close the port", func() error {
		c, err := m.Connect("127.0.0.1:25", 20*time.Second)
		if err == nil {
			c.Close()
			return fmt.Errorf("greeting %v", c.Greeting)
		}
		return m.refusesConnections("127.0.0.1:25")
	})
	t.Logf("the port closed after %v", time.Since(began).Round(10*time.Millisecond))
	if out := m.Run(t, "systemctl status --no-pager "+service+" || true"); !strings.Contains(out, "configuration refused") || !strings.Contains(out, "GSMTP_TIMEOUT") {
		t.Errorf("the status does not contain the reason: %s", out)
	}
	m.configure(t, map[string]string{"GSMTP_TIMEOUT": "100"})
	m.Run(t, "systemctl restart "+service)
	m.expectStored(t, m.send(t, "127.0.0.1:25"))
}

// crashLoop: after 20 kills in 10 s the service starts again automatically, and no message is
// lost. The port may close during the crash loop, since senders retry.
func (m *machine) crashLoop(t *testing.T) {
	l := startLoad(m.Box)
	l.awaitAcks(t, 5)
	for range 20 {
		m.Try("systemctl kill --signal=KILL " + service)
		time.Sleep(500 * time.Millisecond)
	}
	l.awaitAcks(t, 20)
	l.stop(t)
	m.send(t, "127.0.0.1:25")
}

// restarts: a restart refuses no connection and closes none without a reply.
func (m *machine) restarts(t *testing.T) {
	l := startLoad(m.Box)
	for range 4 {
		l.awaitAcks(t, 20)
		m.Run(t, "systemctl restart "+service)
	}
	l.awaitAcks(t, 20)
	l.stop(t)
	if l.refused > 0 || l.reset > 0 {
		t.Errorf("%d connections were refused, %d reset", l.refused, l.reset)
	}
}

// watchdog: systemd restarts a process that makes no progress.
func (m *machine) watchdog(t *testing.T) {
	m.dropIn(t, "watchdog.conf", "[Service]\nWatchdogSec=4s\nRestartSec=500ms\n")
	defer m.removeDropIns(t)
	m.Run(t, "systemctl restart "+service)
	m.send(t, "127.0.0.1:25")
	pid := m.show(t, service, "MainPID")
	m.Run(t, "kill -STOP "+pid)
	test.Await(t, nil, 30*time.Second, "waiting for the watchdog", func() error {
		if now := m.show(t, service, "MainPID"); now == pid || now == "0" {
			return errors.New("MainPID is " + now)
		}
		return nil
	})
	m.send(t, "127.0.0.1:25")
}

// stopInMessage: a stop waits for the end of a text.
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
	m.awaitProperty(t, service, "ActiveState", "deactivating")
	io.WriteString(c.Conn, "xt\r\n.\r\n")
	reply, err := c.Reply()
	if err != nil || reply.Code != 250 {
		t.Fatalf("reply to the text: %v, %v, want 250", reply, err)
	}
	if reply, err := c.Reply(); err != nil || reply.Code != 421 {
		t.Errorf("next reply: %v, %v, want 421", reply, err)
	}
	m.expectStored(t, reply.Hash())
}

// socketStopped: a stop of the socket unit stops the service and closes the port.
func (m *machine) socketStopped(t *testing.T) {
	m.send(t, "127.0.0.1:25")
	m.Run(t, "systemctl stop "+socket)
	m.awaitProperty(t, service, "ActiveState", "inactive")
	if err := m.refusesConnections("127.0.0.1:25"); err != nil {
		t.Error(err)
	}
	m.Run(t, "systemctl start "+socket)
	m.send(t, "127.0.0.1:25")
}
