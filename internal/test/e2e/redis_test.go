package e2e

import (
	"bytes"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/test/servers"
)

// TestRedis sends messages to a daemon with Redis, in both modes and with both stores,
// and reads them with -show while Redis runs, after Redis was killed, and with an empty
// Redis.
func TestRedis(t *testing.T) {
	text := "Subject: hello\r\n\r\n" + strings.Repeat("a line of text\r\n", 100)
	for _, tt := range []struct{ store, mode, compress, body string }{
		{"sqlite", "cache", "N", ""},
		{"sqlite", "store", "Y", "gzencode"},
		{"mysql", "cache", "Y", "gzencode"},
		{"mysql", "store", "N", ""},
	} {
		t.Run(tt.store+" "+tt.mode, func(t *testing.T) {
			r := servers.Redis(t, "--requirepass", "se cret")
			d, table := startDaemon(t, tt.store, map[string]string{
				"REDIS_HOST": r.Addr, "REDIS_PASS": "se cret", "REDIS_DB": "1", "REDIS_MODE": tt.mode,
				"REDIS_EXPIRE_SECONDS": "600", "GM_MAIL_COMPRESS": tt.compress,
			})
			send := func() (hash string, body string, mail []byte) {
				t.Helper()
				c := connect(t, d)
				defer c.Close()
				reply, err := c.Send("sender@example.org", "", []string{"b@example.com"}, []byte(text))
				if err != nil || reply.Code != 250 {
					t.Fatalf("reply %v, %v\n%s", reply, err, d.Log())
				}
				rows, err := table.to("b@example.com")
				if err != nil {
					t.Fatal(err)
				}
				for _, row := range rows {
					if row.hash == reply.Hash() {
						return row.hash, row.body, row.mail
					}
				}
				t.Fatalf("no row with the hash %s", reply.Hash())
				return
			}
			show := func(hash string) (string, error) {
				out, err := d.Cmd("-show", hash).CombinedOutput()
				return string(out), err
			}
			expectText := func(hash string) {
				t.Helper()
				if out, err := show(hash); err != nil || !strings.HasPrefix(out, "Return-Path: <sender@example.org>") || !strings.HasSuffix(out, text) {
					t.Errorf("-show %s: %v\n%s", hash, err, out)
				}
			}

			hash, body, mail := send()
			if inRedis := tt.mode == "store"; inRedis != (body == "redis") || inRedis != (len(mail) == 0) {
				t.Fatalf("mode %s: body %q, mail of %d bytes\n%s", tt.mode, body, len(mail), d.Log())
			}
			expectText(hash)
			list, err := d.Cmd("-list", "1").Output()
			if fields := strings.Split(string(list), "\t"); err != nil || len(fields) != 6 || fields[0] != hash || fields[4] == "0" {
				t.Errorf("-list 1: %v, %q", err, list)
			}
			conn := r.Connect(t)
			if _, err := conn.Do("AUTH", "se cret"); err != nil {
				t.Fatal(err)
			}
			conn.Do("SELECT", 1)
			blob, err := redigo.Bytes(conn.Do("GET", hash))
			if err != nil || tt.mode == "cache" && !bytes.Equal(blob, mail) || (tt.compress == "Y") != (blob[0] == 0x78) {
				t.Errorf("the value in Redis is %.100q, %v", blob, err)
			}
			if ttl, err := redigo.Int(conn.Do("TTL", hash)); err != nil || ttl < 500 || ttl > 600 {
				t.Errorf("TTL %d s, %v, want 500 s to 600 s", ttl, err)
			}

			r.Kill()
			second, body, mail := send()
			if body != tt.body || len(mail) == 0 {
				t.Errorf("without Redis: body %q, want %q, mail of %d bytes", body, tt.body, len(mail))
			}
			expectText(second)
			if tt.mode == "cache" {
				expectText(hash)
			} else if out, err := show(hash); err == nil || !strings.Contains(out, "Redis") {
				t.Errorf("-show of a message in the killed Redis: %v, %s", err, out)
			}

			r.Start(t)
			d.AwaitLog(t, "Redis available again", 1)
			third, _, _ := send()
			expectText(third)
			if out, err := show(hash); (err == nil) != (tt.mode == "cache") || err != nil && !strings.Contains(out, "is no longer there") {
				t.Errorf("-show of a message that Redis has lost: %v, %s", err, out)
			}
			log := d.Log()
			for text, want := range map[string]int{"Redis unavailable": 1, "Redis available again": 1, "se cret": 0} {
				if n := strings.Count(log, text); n != want {
					t.Errorf("the log contains %q %d times, want %d\n%s", text, n, want, log)
				}
			}
			for _, warning := range []string{"REDIS_MODE=store: ", "level=WARN msg=\"Redis loses all messages"} {
				if strings.Contains(log, warning) != (tt.mode == "store") {
					t.Errorf("mode %s: the log contains %q: %v\n%s", tt.mode, warning, strings.Contains(log, warning), log)
				}
			}
			if !d.Reload(t, map[string]string{"REDIS_MODE": "cache", "REDIS_EXPIRE_SECONDS": "60"}) {
				t.Error(d.Log())
			}
			if _, body, mail := send(); body != tt.body || len(mail) == 0 {
				t.Errorf("after a reload: body %q, want %q, mail of %d bytes", body, tt.body, len(mail))
			}
			if status := d.Terminate(t); status != 0 {
				t.Errorf("exit status %d", status)
			}
		})
	}
}
