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

// stalled returns a client in the middle of DATA, which a stop waits for.
func stalled(t *testing.T, d *daemon.Daemon) *client.Client {
	t.Helper()
	c := connect(t, d)
	expect(t, c, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
	expect(t, c, 250, "2.1.5", "RCPT TO:<stalled@example.com>")
	expect(t, c, 354, "", "DATA")
	return c
}

// TestSecondSignal: a second SIGTERM or SIGINT cuts a stop short, and no other
// signal does.
func TestSecondSignal(t *testing.T) {
	for _, tt := range []struct {
		second syscall.Signal
		cut    bool
	}{{syscall.SIGTERM, true}, {syscall.SIGINT, true}, {syscall.SIGHUP, false}, {syscall.SIGUSR1, false}} {
		t.Run(tt.second.String(), func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, nil)
			d.Start(t)
			stalled(t, d)
			d.Process().Signal(syscall.SIGTERM)
			d.AwaitLog(t, "msg=stopping", 1)
			d.Process().Signal(tt.second)
			if code := d.AwaitExit(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			if cut := strings.Contains(d.Log(), "shutdown timed out"); cut != tt.cut {
				t.Errorf("the shutdown timed out: %v, want %v\n%s", cut, tt.cut, d.Log())
			}
		})
	}
}

// TestClosedStandardError: a reader of standard error that goes away does not end
// the daemon.
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
	test.Await(t, nil, 20*time.Second, "the daemon does not greet", test.Dial(d.Addr))
	r.Close()
	for i := range 3 {
		c := connect(t, d)
		send(t, c, fmt.Sprintf("%d@example.com", i))
		c.Close()
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon ends with %v", err)
	}
}

// TestNoWatchdog: under a manager that has no watchdog none is fed.
func TestNoWatchdog(t *testing.T) {
	d := newDaemon(t, nil)
	m := manage(t, d)
	d.Env = d.Env[:len(d.Env)-1]
	if env := strings.Join(d.Env, " "); strings.Contains(env, "WATCHDOG") {
		t.Fatalf("the environment is %s", env)
	}
	d.Start(t)
	m.await(t, `^READY=1`)
	c := connect(t, d)
	send(t, c, "one@example.com")
	m.await(t, `^STATUS=1 sessions, 1 messages stored, store up$`)
	send(t, c, "two@example.com")
	m.await(t, `^STATUS=1 sessions, 2 messages stored, store up$`)
	c.Close()
	d.Terminate(t)
	m.mu.Lock()
	defer m.mu.Unlock()
	if text := strings.Join(m.all, " "); strings.Contains(text, "WATCHDOG=1") || strings.Contains(d.Log(), "no progress") {
		t.Errorf("the manager hears %q\n%s", text, d.Log())
	}
}

// TestQuietLog: a daemon that is well logs no warning and no error: at the start,
// while it stores, at a reload and at the stop. What is not configured is not
// mentioned.
func TestQuietLog(t *testing.T) {
	for _, store := range []string{"sqlite", "maildir"} {
		t.Run(store, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"GM_SAVE_MAIL": store})
			d.Configure(t, map[string]string{"GM_MAILDIR": filepath.Join(d.Dir, "mail")})
			web := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
			m := manage(t, d)
			d.Start(t)
			m.await(t, `^READY=1`)
			c := connect(t, d)
			send(t, c, "one@example.com")
			for _, change := range []map[string]string{{"GM_METRICS": web}, {"GM_METRICS": ""}, {"NGINX_AUTH_ENABLED": "Y", "NGINX_AUTH": web}, {"NGINX_AUTH_ENABLED": "N"}} {
				if !d.Reload(t, change) {
					t.Fatalf("reload: %s", d.Log())
				}
				send(t, c, "two@example.com")
			}
			expect(t, c, 221, "2.0.0", "QUIT")
			if code := d.Terminate(t); code != 0 {
				t.Errorf("exit status %d", code)
			}
			for _, word := range []string{"level=WARN", "level=ERROR", "edis", " error=", "panic"} {
				if strings.Contains(d.Log(), word) {
					t.Errorf("the log has %q:\n%s", word, d.Log())
				}
			}
			for _, event := range []string{"msg=ready", "msg=reloaded", "msg=stopping", `msg="message accepted"`} {
				if !strings.Contains(d.Log(), event) {
					t.Errorf("the log lacks %q:\n%s", event, d.Log())
				}
			}
		})
	}
}

// TestStopDespiteRequests: half a request to auth_http or to the metrics does not
// keep the daemon from stopping, and the log reports it.
func TestStopDespiteRequests(t *testing.T) {
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
		r, err := http.Get("http://" + address) // once it is answered, the server has accepted the first
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	if code := d.Terminate(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if n := strings.Count(d.Log(), `msg="shutdown timed out" part=`); n != 2 {
		t.Errorf("the log reports %d parts that timed out, want auth_http and metrics:\n%s", n, d.Log())
	}
}
