package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"goguerrillad/internal/test"
)

// A sink runs one program of consuming.md and knows the messages that it has processed.
type sink struct {
	language, work string   // of the block
	file           string   // for the block
	pairs          []string // values that the test replaces in the block
	args           []string // of the program

	spoil     func(t *testing.T, hash string) // lets a message fail
	repair    func(t *testing.T, hash string) // lets it succeed
	attempts  func(w *workers) map[string]int // by hash
	processed func(w *workers) map[string]int // by hash
}

// poison is the recipient of the messages that fail until their repair.
const poison = "poison@example.com"

// webhookSink returns the receiver of the PHP program.
func webhookSink(t *testing.T) *sink {
	var mu sync.Mutex
	attempts, processed, repaired := map[string]int{}, map[string]int{}, false
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var body struct {
			Hash, From, Recipient, Subject string
			Mail                           []byte
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return // a killed worker
		}
		if body.Hash != r.Header.Get("webhook-id") || !strings.HasPrefix(string(body.Mail), "Return-Path: <"+body.From+">\r\nDelivered-To: "+body.Recipient) {
			t.Errorf("request %+v", body)
		}
		attempts[body.Hash]++
		if body.Recipient == poison && !repaired {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		processed[body.Hash]++
	}))
	t.Cleanup(receiver.Close)
	return &sink{language: "php", work: "webhook", file: "worker.php", pairs: []string{"https://app.example.com/mail", receiver.URL},
		spoil: func(*testing.T, string) {},
		repair: func(*testing.T, string) {
			mu.Lock()
			defer mu.Unlock()
			repaired = true
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
	return &sink{language: "python", work: "decode", file: "worker.py", pairs: []string{`host="127.0.0.1"`, fmt.Sprintf(`unix_socket_path=%q`, c.redis.Socket)},
		spoil: func(t *testing.T, hash string) {
			c.do(t, "UPDATE new_mail SET body = 'redis', mail = '' WHERE hash = ?", hash)
			if _, err := c.redis.Connect(t).Do("DEL", hash); err != nil {
				t.Fatal(err)
			}
		},
		repair: func(t *testing.T, hash string) {
			if _, err := c.redis.Connect(t).Do("SET", hash, "Subject: repaired\r\n\r\ntext\r\n"); err != nil {
				t.Fatal(err)
			}
		},
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
	script := `cd "$1"; echo "$HASH" >>attempts; grep -q "^Delivered-To: poison@" && [ ! -e repaired ] && exit 1; echo "$HASH" >>processed`
	count := func(name string) map[string]int {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		n := map[string]int{}
		for hash := range strings.Lines(string(text)) {
			n[strings.TrimSpace(hash)]++
		}
		return n
	}
	return &sink{language: "go", work: "command", file: "worker.go", args: []string{"sh", "-c", script, "sh", dir},
		spoil:     func(*testing.T, string) {},
		repair:    func(t *testing.T, _ string) { test.WriteFile(t, dir, "repaired", "") },
		attempts:  func(*workers) map[string]int { return count("attempts") },
		processed: func(*workers) map[string]int { return count("processed") }}
}
