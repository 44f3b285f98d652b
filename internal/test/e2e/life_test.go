package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
)

// stalledClient returns a client that has received 354 and sends no text, so that a stop
// waits for it.
func stalledClient(t *testing.T, d *daemon.Daemon) *client.Client {
	t.Helper()
	c := connect(t, d)
	expect(t, c, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
	expect(t, c, 250, "2.1.5", "RCPT TO:<stalled@example.com>")
	expect(t, c, 354, "", "DATA")
	return c
}

// TestSecondSignal: a second SIGTERM or SIGINT ends a stop immediately. Other signals
// do not.
func TestSecondSignal(t *testing.T) {
	for _, tt := range []struct {
		second syscall.Signal
		ends   bool // the stop, immediately
	}{{syscall.SIGTERM, true}, {syscall.SIGINT, true}, {syscall.SIGHUP, false}, {syscall.SIGUSR1, false}} {
		t.Run(tt.second.String(), func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, nil)
			d.Start(t)
			stalledClient(t, d)
			d.Process().Signal(syscall.SIGTERM)
			d.AwaitLog(t, "msg=stopping", 1)
			d.Process().Signal(tt.second)
			if code := d.AwaitExit(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			if ends := strings.Contains(d.Log(), "shutdown timed out"); ends != tt.ends {
				t.Errorf("the signal ends the stop: %v, want %v\n%s", ends, tt.ends, d.Log())
			}
		})
	}
}

// TestClosedStandardError: the daemon continues when the reader of its standard error
// has closed the pipe.
func TestClosedStandardError(t *testing.T) {
	d := newDaemon(t, nil)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := d.Cmd()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w.Close()
	test.Await(t, nil, 20*time.Second, "waiting for the daemon", test.Dial(d.Addr))
	r.Close()
	for i := range 3 {
		c := connect(t, d)
		send(t, c, fmt.Sprintf("%d@example.com", i))
		c.Close()
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon ended: %v", err)
	}
}

// TestNoWatchdog: the daemon sends no WATCHDOG=1 without WATCHDOG_USEC.
func TestNoWatchdog(t *testing.T) {
	d := newDaemon(t, nil)
	m := startManager(t, d)
	d.Env = d.Env[:len(d.Env)-1] // without WATCHDOG_USEC
	if env := strings.Join(d.Env, " "); strings.Contains(env, "WATCHDOG") {
		t.Fatalf("environment: %s", env)
	}
	d.Start(t)
	m.await(t, `^READY=1`)
	c := connect(t, d)
	send(t, c, "one@example.com")
	m.await(t, `^STATUS=1 session, 1 message stored, store up$`)
	send(t, c, "two@example.com")
	m.await(t, `^STATUS=1 session, 2 messages stored, store up$`)
	c.Close()
	d.Terminate(t)
	m.mu.Lock()
	defer m.mu.Unlock()
	if text := strings.Join(m.all, " "); strings.Contains(text, "WATCHDOG=1") || strings.Contains(d.Log(), "no progress") {
		t.Errorf("the manager received %q\n%s", text, d.Log())
	}
}

// TestQuietLog: a healthy daemon logs no warning and no error at the start, while it
// stores messages, at a reload and at the stop. The log does not mention Redis, which is
// not configured.
func TestQuietLog(t *testing.T) {
	for _, store := range []string{"sqlite", "maildir"} {
		t.Run(store, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"GM_SAVE_MAIL": store})
			if store == "maildir" {
				d.Configure(t, map[string]string{"GM_MAILDIR": filepath.Join(d.Dir, "mail"), "SQLITE_FILE": ""})
			}
			web := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
			m := startManager(t, d)
			d.Start(t)
			m.await(t, `^READY=1`)
			c := connect(t, d)
			send(t, c, "one@example.com")
			for _, change := range []map[string]string{{"GM_METRICS": web}, {"GM_METRICS": ""}, {"NGINX_AUTH_ENABLED": "Y", "NGINX_AUTH": web}, {"NGINX_AUTH_ENABLED": "N", "NGINX_AUTH": ""}} {
				if !d.Reload(t, change) {
					t.Fatalf("reload with %v refused: %s", change, d.Log())
				}
				send(t, c, "two@example.com")
			}
			expect(t, c, 221, "2.0.0", "QUIT")
			if code := d.Terminate(t); code != 0 {
				t.Errorf("exit status %d", code)
			}
			for _, word := range []string{"level=WARN", "level=ERROR", "edis", " error=", "panic"} {
				if strings.Contains(d.Log(), word) {
					t.Errorf("the log contains %q:\n%s", word, d.Log())
				}
			}
			for _, event := range []string{"msg=ready", "msg=reloaded", "msg=stopping", `msg="message accepted"`} {
				if !strings.Contains(d.Log(), event) {
					t.Errorf("the log does not contain %q:\n%s", event, d.Log())
				}
			}
		})
	}
}

// TestStopWithOpenRequests: the daemon stops although clients have sent half a request
// to auth_http and to the metrics. The log reports both.
func TestStopWithOpenRequests(t *testing.T) {
	auth, metrics := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	d := newDaemon(t, map[string]string{"NGINX_AUTH_ENABLED": "Y", "NGINX_AUTH": auth, "GM_METRICS": metrics})
	d.Start(t)
	for _, address := range []string{auth, metrics} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.Get("http://" + address) // its reply shows that the server has accepted the first connection too
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	if code := d.Terminate(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if n := strings.Count(d.Log(), `msg="shutdown timed out" part=`); n != 2 {
		t.Errorf("%d parts timed out, want auth_http and metrics:\n%s", n, d.Log())
	}
}
