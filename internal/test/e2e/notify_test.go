package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// A manager receives the notifications of a daemon, as a service manager does
// (sd_notify(3)).
type manager struct {
	socket *net.UnixConn

	mu     sync.Mutex
	unread []string // notifications after the last one that await matched
	all    []string
}

// startManager creates the notification socket of a daemon and sets its environment.
func startManager(t *testing.T, d *daemon.Daemon) *manager {
	t.Helper()
	path := filepath.Join(d.Dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	d.Chown(t, path)
	d.Env = append(d.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=2000000")
	m := &manager{socket: socket}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := socket.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.unread = append(m.unread, string(buf[:n]))
			m.all = append(m.all, string(buf[:n]))
			m.mu.Unlock()
		}
	}()
	return m
}

// await waits for the next notification that matches a pattern, and discards the
// notifications before it.
func (m *manager) await(t *testing.T, pattern string) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	test.Await(t, nil, 20*time.Second, "waiting for the notification "+pattern, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, text := range m.unread {
			if want.MatchString(text) {
				m.unread = m.unread[i+1:]
				return nil
			}
		}
		return fmt.Errorf("received %q", m.unread)
	})
}

// TestNotify checks the notifications from the start to the stop of a daemon.
func TestNotify(t *testing.T) {
	d := newDaemon(t, nil)
	m := startManager(t, d)
	d.Start(t)
	m.await(t, `^READY=1\nSTATUS=\d+ sessions?, 0 messages stored, store (not checked yet|up)$`)
	m.await(t, `^WATCHDOG=1$`)

	c := connect(t, d)
	defer c.Close()
	if r, err := c.Send("a@example.org", "", []string{"b@example.com"}, []byte("x\r\n")); err != nil || r.Code != 250 {
		t.Fatalf("reply %v, %v, want 250", r, err)
	}
	m.await(t, `^STATUS=1 session, 1 message stored, store up$`)

	d.Reload(t, map[string]string{"GM_MAX_CLIENTS": "600"})
	m.await(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`)
	m.await(t, `^READY=1\nSTATUS=1 session, 1 message stored, store (not checked yet|up)$`)
	d.Reload(t, map[string]string{"GM_MAX_CLIENTS": "none"})
	m.await(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`)
	m.await(t, `^READY=1\nSTATUS=1 session, .*; the last reload was refused: .*goguerrilla\.conf:\d+:\d+: GM_MAX_CLIENTS: "none" is not a whole number.*$`)

	// While the store is unavailable, the status reports it, and WATCHDOG=1 continues.
	d.Reload(t, map[string]string{"GM_MAX_CLIENTS": "500", "SQLITE_FILE": filepath.Join(d.ConfigFile(), "mail.db")})
	m.await(t, `^STATUS=1 session, 1 message stored, store down since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, messages wait: .*mail\.db`)
	m.await(t, `^WATCHDOG=1$`)

	if r, err := c.Expect(250, "MAIL FROM:<a@example.org>"); err != nil {
		t.Fatalf("reply %v, %v, want 250", r, err)
	}
	done := make(chan int)
	go func() { done <- d.Terminate(t) }()
	m.await(t, `^STOPPING=1\nSTATUS=stopping: 1 session,`)
	m.await(t, `^EXTEND_TIMEOUT_USEC=10000000$`)
	m.await(t, `^WATCHDOG=1$`)
	c.Close()
	if status := <-done; status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestNotifyRefused: the status states why a daemon does not start.
func TestNotifyRefused(t *testing.T) {
	d := newDaemon(t, map[string]string{"GSMTP_TIMEOUT": "soon"})
	m := startManager(t, d)
	fails := func(status int) {
		t.Helper()
		cmd := d.Cmd()
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != status {
			t.Errorf("exit status %d, want %d: %s", cmd.ProcessState.ExitCode(), status, out)
		}
	}
	fails(78)
	m.await(t, `^STATUS=configuration refused: .*goguerrilla\.conf:\d+:\d+: GSMTP_TIMEOUT: "soon" is not a whole number`)

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	d.Configure(t, map[string]string{"GSMTP_TIMEOUT": "60", "GSTMP_LISTEN_INTERFACE": busy.Addr().String()})
	fails(1)
	m.await(t, `^STATUS=cannot start: listen on 127\.0\.0\.1:\d+: .*address already in use`)
}

// TestStatusIsTrue: the status is never "store up" while the store cannot be used.
func TestStatusIsTrue(t *testing.T) {
	servers.NeedMariaDB(t)
	m := shared.MariaDB()
	for _, change := range []map[string]string{
		{"MYSQL_PASS": "wrong"}, {"MYSQL_DB": "missing"}, {"GM_MAIL_TABLE": "missing"},
		{"MYSQL_HOST": fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))},
		{"GM_SAVE_MAIL": "sqlite", "SQLITE_FILE": "/missing/mail.db"},
		{"GM_SAVE_MAIL": "maildir", "GM_MAILDIR": "/missing/Maildir"},
		{"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": fmt.Sprintf("http://127.0.0.1:%d/", test.FreePort(t))},
	} {
		d := newDaemon(t, m.Keys())
		d.Configure(t, change)
		manager := startManager(t, d)
		d.Start(t)
		manager.await(t, `STATUS=.*store down since .* UTC, messages wait: `)
		d.Reload(t, nil)
		manager.await(t, `^READY=1\nSTATUS=.*store down since .* UTC, (messages wait|replying 451): `)
		d.Terminate(t)
		manager.mu.Lock()
		if all := strings.Join(manager.all, "\n"); strings.Contains(all, "store up") {
			t.Errorf("%v: the manager received\n%s", change, all)
		}
		manager.mu.Unlock()
	}
}
