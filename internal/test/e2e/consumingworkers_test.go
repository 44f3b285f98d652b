package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"goguerrillad/internal/test"
)

// A sink runs one program of consuming.md and knows the messages that it has processed.
type sink struct {
	language, work string   // of the block
	function       string   // the beginning of the function work
	interpreter    []string // of the program
	args           []string // of the program
	pairs          []string // values that the test replaces in the block
	pause          []string // the pause of the program, and a shorter one

	spoil     func(t *testing.T, hash string) // lets a message fail
	repair    func(t *testing.T, hash string) // lets it succeed
	failures  func(w *workers) int
	attempts  func(w *workers) map[string]int // by hash
	processed func(w *workers) map[string]int // by hash
}

// poison is the recipient of the messages that fail until their repair.
const poison = "poison@example.com"

// webhookSink returns the receiver of the PHP program.
func webhookSink(t *testing.T) *sink {
	var mu sync.Mutex
	attempts, processed, failures, repaired := map[string]int{}, map[string]int{}, 0, false
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var body struct {
			Hash, From, Recipient, Subject string
			Mail                           []byte
		}
		text, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(text, &body) != nil {
			return // the worker was killed
		}
		mac := hmac.New(sha256.New, []byte("0123456789abcdef0123456789abcdef"))
		fmt.Fprintf(mac, "%s.%s.%s", body.Hash, r.Header.Get("webhook-timestamp"), text)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want {
			t.Errorf("signature %q, want %q", r.Header.Get("webhook-signature"), want)
		}
		if body.Hash != r.Header.Get("webhook-id") || !strings.HasPrefix(string(body.Mail), "Return-Path: <"+body.From+">\r\nDelivered-To: "+body.Recipient) {
			t.Errorf("request %+v", body)
		}
		attempts[body.Hash]++
		if body.Recipient == poison && !repaired {
			failures++
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		processed[body.Hash]++
	}))
	t.Cleanup(receiver.Close)
	return &sink{language: "php", work: "webhook", function: "function work", interpreter: []string{"php"}, pause: []string{"sleep(1)", "usleep(50000)"},
		pairs: []string{"https://app.example.com/mail", receiver.URL},
		spoil: func(*testing.T, string) {},
		repair: func(*testing.T, string) {
			mu.Lock()
			defer mu.Unlock()
			repaired = true
		},
		failures: func(*workers) int {
			mu.Lock()
			defer mu.Unlock()
			return failures
		},
		attempts: func(*workers) map[string]int {
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(attempts)
		},
		processed: func(*workers) map[string]int {
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(processed)
		}}
}

// decodeSink reads the tables of the Python program. A message fails if it is in Redis,
// according to its row, and Redis does not have it.
func decodeSink(t *testing.T, c *consumed) *sink {
	return &sink{language: "python", work: "decode", function: "def work", interpreter: []string{"/usr/bin/python3"}, pause: []string{"sleep(1)", "sleep(0.05)"},
		pairs: []string{`host="127.0.0.1"`, fmt.Sprintf(`unix_socket_path=%q`, c.redis.Socket)},
		spoil: func(t *testing.T, hash string) {
			c.do(t, "UPDATE new_mail SET body = 'redis', mail = '' WHERE hash = '"+hash+"'")
			if _, err := c.redis.Connect(t).Do("DEL", hash); err != nil {
				t.Fatal(err)
			}
		},
		repair: func(t *testing.T, hash string) {
			if _, err := c.redis.Connect(t).Do("SET", hash, "Subject: repaired\r\n\r\ntext\r\n"); err != nil {
				t.Fatal(err)
			}
		},
		failures: func(w *workers) int { return strings.Count(w.output(), "Redis does not have") },
		attempts: func(w *workers) map[string]int {
			n := map[string]int{}
			for line := range strings.Lines(w.output()) {
				if hash, ok := strings.CutPrefix(line, "processing "); ok {
					n[strings.TrimSpace(hash)]++
				}
			}
			return n
		},
		processed: func(*workers) map[string]int {
			rows, err := c.db.Query("SELECT hash FROM content WHERE text IS NOT NULL")
			n := map[string]int{}
			for err == nil && rows.Next() {
				var hash string
				err = rows.Scan(&hash)
				n[hash]++
			}
			if err = errors.Join(err, rows.Err()); err != nil {
				t.Fatal(err)
			}
			return n
		}}
}

// commandSink is a command for the Go program.
func commandSink(t *testing.T) *sink {
	dir := test.PublicDir(t)
	if err := os.Chmod(dir, 0o777); err != nil { // for the user of the workers
		t.Fatal(err)
	}
	script := `cd "$1"; echo "$HASH" >>attempts; grep -q "^Delivered-To: poison@" && [ ! -e repaired ] && echo "$HASH" >>failures && exit 1; echo "$HASH" >>processed`
	lines := func(name string) []string {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.Fields(string(text))
	}
	count := func(name string) map[string]int {
		n := map[string]int{}
		for _, hash := range lines(name) {
			n[hash]++
		}
		return n
	}
	return &sink{language: "go", work: "command", function: "func main", pause: []string{"time.Second", "50 * time.Millisecond"},
		args:      []string{"sh", "-c", script, "sh", dir},
		spoil:     func(*testing.T, string) {},
		repair:    func(t *testing.T, _ string) { test.WriteFile(t, dir, "repaired", "") },
		failures:  func(*workers) int { return len(lines("failures")) },
		attempts:  func(*workers) map[string]int { return count("attempts") },
		processed: func(*workers) map[string]int { return count("processed") }}
}

// workers are running copies of a program.
type workers struct {
	command   func() *exec.Cmd
	running   []*test.Process
	processes []*test.Process // also those that were killed
}

// start writes the program of the page, with the first time of a retry in seconds, and
// starts n workers.
func (c *consumed) start(t *testing.T, s *sink, n int, retry string) *workers {
	t.Helper()
	head, work, _ := strings.Cut(c.page.Block(t, s.language+" "+s.work, s.pairs...), s.function)
	if c.store != "mariadb" {
		head = c.page.Block(t, s.language+" "+c.store)
	}
	var path, to string
	switch c.store {
	case "mariadb":
		path, to = "/run/mysqld/mysqld.sock", c.server.Socket
	case "postgres":
		path, to = "host=127.0.0.1", "host=127.0.0.1 port="+c.postgres.Port()
	case "sqlite":
		path, to = "/var/lib/goguerrillad/mail.db", c.Keys["SQLITE_FILE"]
	}
	program := test.Page{"head": head}.Block(t, "head", path, to, "60 <<", retry+" <<") +
		s.function + strings.NewReplacer(s.pause...).Replace(work)
	dir := test.PublicDir(t)
	file := test.WriteFile(t, dir, "worker."+s.language, program)
	args := append(slices.Clone(s.interpreter), file)
	if s.language == "go" {
		args = []string{filepath.Join(dir, "worker")}
		if out, err := exec.Command("go", "build", "-o", args[0], file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	args = append(args, s.args...)
	w := &workers{running: make([]*test.Process, n), command: func() *exec.Cmd {
		cmd := exec.Command(args[0], args[1:]...)
		if os.Geteuid() == 0 { // the user of the daemon
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.Nobody, Gid: test.Nobody}}
		}
		return cmd
	}}
	for i := range n {
		w.start(t, i)
	}
	return w
}

func (w *workers) start(t *testing.T, i int) {
	t.Helper()
	w.running[i] = test.Start(t, w.command())
	w.processes = append(w.processes, w.running[i])
}

// kill kills a worker, which must not have ended before.
func (w *workers) kill(t *testing.T, i int) {
	t.Helper()
	select {
	case <-w.running[i].Done():
		t.Errorf("a worker has ended: %s", w.running[i].Output())
	default:
		w.running[i].Kill()
	}
}

func (w *workers) stop(t *testing.T) {
	t.Helper()
	for i := range w.running {
		w.kill(t, i)
	}
}

// output returns the output of all processes.
func (w *workers) output() string {
	var b strings.Builder
	for _, p := range w.processes {
		b.WriteString(p.Output())
	}
	return b.String()
}
