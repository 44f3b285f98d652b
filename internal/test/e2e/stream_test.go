package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// TestStreamPage runs the configuration and the consumers of stream.md. The first
// consumer must also receive an entry that a worker read and did not acknowledge.
func TestStreamPage(t *testing.T) {
	page := test.ReadPage(t, "stream.md")
	redis := servers.Redis(t)
	var keys map[string]string
	if err := json.Unmarshal([]byte(page.Block(t, "json stream", "127.0.0.1:6379", redis.Addr)), &keys); err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, keys)
	d.Start(t)
	c := connect(t, d)
	for i := range 3 {
		if r, err := c.Send("sender@example.org", "", []string{fmt.Sprintf("first%d@example.com", i), fmt.Sprintf("second%d@example.com", i)},
			[]byte("Subject: =?utf-8?Q?gr=C3=BC=C3=9Fe?=\r\n\r\ntext\r\n")); err != nil || r.Code != 250 {
			t.Fatalf("reply %v, %v", r, err)
		}
	}
	db := redis.Connect(t)
	test.Await(t, d.Process(), 10*time.Second, "waiting for the stream", func() error {
		if n, err := redigo.Int(db.Do("XLEN", "mails")); err != nil || n != 6 {
			return fmt.Errorf("%d entries, want 6: %v", n, err)
		}
		return nil
	})
	// A worker reads one entry and ends without acknowledging it.
	if _, err := db.Do("XGROUP", "CREATE", "mails", "workers", "0"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Do("XREADGROUP", "GROUP", "workers", "python", "COUNT", 1, "STREAMS", "mails", ">"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, port, _ := strings.Cut(redis.Addr, ":")
	t.Run("Python", func(t *testing.T) {
		test.Need(t, "/usr/bin/python3")
		file := filepath.Join(dir, "consumer.py")
		text := page.Block(t, "python consumer", "port=6379", "port="+port)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// Debian's Python finds the modules of Debian's packages.
		consume(t, exec.Command("/usr/bin/python3", file, "python"), []string{"first0@", "second0@", "first1@", "second1@", "first2@", "second2@"})
	})
	t.Run("Go", func(t *testing.T) {
		send(t, c, "third@example.com")
		file := filepath.Join(dir, "consumer.go")
		text := page.Block(t, "go consumer", "127.0.0.1:6379", redis.Addr)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		consume(t, exec.Command("go", "run", file, "go"), []string{"third@"})
	})
	test.Await(t, nil, 10*time.Second, "waiting for the acknowledgements", func() error {
		pending, err := redigo.Values(db.Do("XPENDING", "mails", "workers"))
		if n, _ := redigo.Int(pending[0], err); n != 0 {
			return fmt.Errorf("%d entries are pending", n)
		}
		return nil
	})
}

// consume runs a consumer, which must print one line per recipient, in this order.
func consume(t *testing.T, cmd *exec.Cmd, to []string) {
	t.Helper()
	p := test.Start(t, cmd)
	test.Await(t, p, 60*time.Second, "waiting for the consumer", func() error {
		lines := strings.Split(p.Output(), "\n")
		lines = lines[:len(lines)-1] // the last line may be incomplete
		if len(lines) != len(to) {
			return fmt.Errorf("lines %q, want %d", lines, len(to))
		}
		for i, line := range lines {
			if !strings.Contains(line, " sender@example.org "+to[i]) {
				t.Fatalf("line %d is %q, want the recipient %s", i, line, to[i])
			}
		}
		return nil
	})
}
