package daemon

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/test"
)

// TestStopLog: a stop logs the number of refusals that had no log line, then the
// counters, then "stopped".
func TestStopLog(t *testing.T) {
	d := shared.Daemon(t, nil)
	d.Configure(t, map[string]string{"SQLITE_FILE": filepath.Join(d.ConfigFile(), "mail.db")})
	d.Start(t)
	for range 3 {
		if replies := dialogue(t, d, "", messageCommands("b@example.com")...); !strings.Contains(replies, "\n451 4.3.0 ") {
			t.Errorf("replies without a store:\n%s", replies)
		}
	}
	if status := d.Terminate(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	_, log, _ := strings.Cut(d.Log(), "msg=stopping signal=terminated\n")
	if lines := strings.Count(log, "\n"); lines != 3 {
		t.Errorf("the stop logs %d lines, want 3:\n%s", lines, log)
	}
	for _, want := range []string{`msg="messages not stored" count=2 `, "msg=counters sessions=0 ", "msg=stopped\n"} {
		_, after, ok := strings.Cut(log, want)
		if !ok {
			t.Errorf("%q is missing or in the wrong order:\n%s", want, d.Log())
		}
		log = after
	}
	if log != "" {
		t.Errorf("lines after msg=stopped:\n%s", log)
	}
}

// TestStopOrder: while a stop waits for a transaction, auth_http and SMTP refuse
// connections, so that clients connect to another server. The daemon still serves the
// metrics.
func TestStopOrder(t *testing.T) {
	addrs := freeAddresses(t)
	d := startDaemon(t, addrs, map[string]string{"NGINX_AUTH_ENABLED": "Y"})
	c := connect(t, d)
	defer c.Close()
	for _, command := range messageCommands("b@example.com")[:4] {
		if r, err := c.Cmd("%s", command); err != nil || r.Code >= 400 {
			t.Fatalf("%s: %v, %v", command, r, err)
		}
	}
	if err := d.Process().Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, key := range addressKeys[:2] {
		test.Await(t, d.Process(), 20*time.Second, "waiting for "+key+" to refuse connections", func() error {
			conn, err := net.Dial("tcp", addrs[key])
			if err == nil {
				conn.Close()
				return errors.New("the connection was accepted")
			} else if !errors.Is(err, syscall.ECONNREFUSED) {
				return err
			}
			return nil
		})
	}
	if text := get(t, addrs["GM_METRICS"], "/metrics"); !strings.Contains(text, "\ngoguerrillad_sessions 1\n") {
		t.Errorf("the metrics during a stop lack the session:\n%s", text)
	}
	if r, err := c.Cmd("."); err != nil || r.Code != 250 {
		t.Errorf("end of the message: %v, %v", r, err)
	}
	if status := d.AwaitExit(); status != 0 || !strings.Contains(d.Log(), " messages=1 rows=1 ") {
		t.Errorf("exit status %d:\n%s", status, d.Log())
	}
}

// TestLogWriteError: a daemon that cannot write its log reports the error on standard
// error and exits with status 0.
func TestLogWriteError(t *testing.T) {
	d := shared.Daemon(t, nil)
	d.Configure(t, map[string]string{"GSMTP_LOG_FILE": "/dev/full"})
	d.Start(t)
	status := d.Terminate(t)
	if text := d.Process().Output(); status != 0 || text != "goguerrillad: close the log: write /dev/full: no space left on device\n" {
		t.Errorf("exit status %d, standard error:\n%s", status, text)
	}
}

// TestStatus: the status for the service manager contains the number of stored
// messages, and the error of a store that is down.
func TestStatus(t *testing.T) {
	d := shared.Daemon(t, nil)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(d.Dir, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	d.Chown(t, socket.LocalAddr().String())
	d.Env = append(d.Env, "NOTIFY_SOCKET="+socket.LocalAddr().String())
	await := func(pattern string) {
		t.Helper()
		socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		for want, b := regexp.MustCompile(pattern), make([]byte, 4096); ; {
			n, err := socket.Read(b)
			if err != nil {
				t.Fatalf("no notification matches %s: %v", pattern, err)
			}
			if want.Match(b[:n]) {
				return
			}
		}
	}
	d.Start(t)
	await(`^READY=1\nSTATUS=(1 session|0 sessions), 0 messages stored, store (not checked yet|up)$`)
	dialogue(t, d, "", messageCommands("b@example.com")...)
	for _, step := range []struct{ file, want string }{
		{d.Keys["SQLITE_FILE"], `store up$`},
		{filepath.Join(d.ConfigFile(), "mail.db"), `store down since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, replying 451: /.*/mail\.db: not a directory$`},
	} {
		d.Reload(t, map[string]string{"SQLITE_FILE": step.file})
		dialogue(t, d, "", messageCommands("b@example.com")...)
		d.Reload(t, nil)
		await(`^(READY=1\n)?STATUS=\d sessions?, 2 messages stored, ` + step.want)
	}
}

// A hungStore is a store whose Save ignores its context and returns after end is closed.
type hungStore struct{ end chan struct{} }

func (s hungStore) Save(_ context.Context, batch []*envelope.Envelope) []error {
	<-s.end
	return make([]error, len(batch))
}

func (hungStore) Close() error { return nil }

// TestAlive: alive returns an error if a Save takes longer than its timeout.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := hungStore{make(chan struct{})}
		d := &daemon{server: &smtpd.Server{}, committer: commit.New(store, commit.Options{Timeout: time.Second})}
		d.committer.Submit(&envelope.Envelope{}, func(error) {})
		for _, alive := range []bool{true, false} {
			if err := d.alive(t.Context()); (err == nil) != alive {
				t.Errorf("alive returns %v, want nil: %v", err, alive)
			}
			time.Sleep(time.Minute)
		}
		close(store.end)
		if err := d.committer.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
