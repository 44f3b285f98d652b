package redis_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/discard"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

const (
	dropping  = "Redis stream queue full"
	continues = "Redis stream continues"
)

// TestStreamDropsEntries: while Redis is unavailable, 10,000 entries and one batch
// wait. The log reports once that entries are dropped, and after the outage the
// number of dropped entries.
func TestStreamDropsEntries(t *testing.T) {
	f := startRedis(t)
	f.server.Kill()
	f.open(func(o *redis.Options) { o.InPlace, o.Stream, o.StreamMax = false, "messages", 100_000 })
	const wait, batch = 10_000, 500
	const rows = wait + batch + 100
	f.save(wait)
	for range rows - wait {
		f.save(1)
	}
	f.checkLog(dropping, 1)
	f.server.Start(t)
	f.conn = f.server.Connect(t)
	var dropped int
	test.Await(t, nil, 30*time.Second, "the stream does not continue", func() error {
		_, after, ok := strings.Cut(f.log.String(), continues)
		if !ok {
			return errors.New(f.log.String())
		}
		_, after, _ = strings.Cut(after, "dropped=")
		if _, err := fmt.Sscan(after, &dropped); err != nil {
			t.Fatal(err)
		}
		n, err := redigo.Int(f.conn.Do("XLEN", "messages"))
		if err == nil && n < rows-dropped {
			err = fmt.Errorf("%d entries, %d dropped", n, dropped)
		}
		return err
	})
	if most := rows - wait; dropped < most-batch || dropped > most {
		t.Errorf("%d entries were dropped, want from %d to %d", dropped, most-batch, most)
	}
	f.checkLog(continues, 1)
}

// TestStreamOutcomes: the stream gets entries only for committed rows.
func TestStreamOutcomes(t *testing.T) {
	f := start(t, func(o *redis.Options) { o.Stream, o.StreamMax = "messages", 1000 })
	f.awaitConnected()
	var want []string
	for _, err := range []error{nil, savemail.ErrUnavailable, savemail.ErrUnknown, savemail.ErrRejected, nil} {
		f.inner.err = err
		e, _ := f.save(2)
		for _, to := range e.To {
			if err == nil {
				want = append(want, to.Hash)
			}
		}
	}
	var got []string
	test.Await(t, nil, 10*time.Second, "entries are missing", func() error {
		entries, err := redigo.Values(f.conn.Do("XRANGE", "messages", "-", "+"))
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, entry := range entries {
			parts, _ := redigo.Values(entry, nil)
			fields, err := redigo.StringMap(parts[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fields["hash"])
		}
		if len(got) < len(want) {
			return fmt.Errorf("%d entries, want %d", len(got), len(want))
		}
		return nil
	})
	if !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

// TestStreamSubject: a long subject is cut at a character.
func TestStreamSubject(t *testing.T) {
	f := start(t, func(o *redis.Options) { o.Stream, o.StreamMax = "messages", 1000 })
	f.awaitConnected()
	whole := strings.Repeat("\u00fc", 1000)
	for i, subject := range []string{whole, whole + "x"} {
		e := storetest.Envelope("Subject: "+subject+"\r\n\r\n", "b@example.com")
		if err := f.store.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
			t.Fatal(err)
		}
		test.Await(t, nil, 10*time.Second, "the subject is wrong", func() error {
			entries, err := redigo.Values(f.conn.Do("XREVRANGE", "messages", "+", "-"))
			if err != nil || len(entries) != i+1 {
				return fmt.Errorf("%d entries, want %d, %v", len(entries), i+1, err)
			}
			parts, _ := redigo.Values(entries[0], nil)
			if fields, err := redigo.StringMap(parts[1], nil); err != nil || fields["subject"] != whole {
				return fmt.Errorf("subject of %d bytes, want %d, %v", len(fields["subject"]), len(whole), err)
			}
			return nil
		})
	}
}

// TestStreamUTF8: all values are valid UTF-8, whatever the client has sent.
func TestStreamUTF8(t *testing.T) {
	f := start(t, func(o *redis.Options) { o.Stream, o.StreamMax = "messages", 1000 })
	f.awaitConnected()
	e := storetest.Envelope("Message-ID: <\xff@x>\r\nReply-To: <\xff@x>\r\nSender: <\xff@x>\r\nSubject: \xff\r\n\r\n\xff", "b@example.com")
	e.Helo, e.Login = "a\xff\xfeb", "\u00fc\xff"
	if err := f.store.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	test.Await(t, nil, 10*time.Second, "no entry", func() error {
		entries, err := redigo.Values(f.conn.Do("XRANGE", "messages", "-", "+"))
		if err != nil || len(entries) != 1 {
			return fmt.Errorf("%d entries, %v", len(entries), err)
		}
		parts, _ := redigo.Values(entries[0], nil)
		fields, err := redigo.StringMap(parts[1], nil)
		if err != nil {
			return err
		}
		for name, value := range fields {
			if !utf8.ValidString(value) {
				t.Errorf("%s is %q", name, value)
			}
		}
		if fields["helo"] != "a\uFFFDb" || fields["login"] != "\u00fc\uFFFD" {
			t.Errorf("helo %q, login %q", fields["helo"], fields["login"])
		}
		return nil
	})
}

// TestStreamClose: Close returns although Redis is unavailable.
func TestStreamClose(t *testing.T) {
	var log test.Log
	s := redis.New(&recorder{}, redis.Options{Host: "127.0.0.1:1", Stream: "messages", StreamMax: 1000, Log: log.Logger()})
	if err := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, "a@example.com")})[0]; err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Close does not return")
	}
}

// TestStream: entries are added in the order of the Saves, even after an outage, and
// Close adds the queued entries.
func TestStream(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Redis")
	}
	server := servers.Redis(t)
	log := &test.Log{}
	s := redis.New(discard.Store{}, redis.Options{Host: server.Addr, Expire: time.Hour, Stream: "messages", StreamMax: 1000,
		Log: slog.New(slog.NewTextHandler(log, nil))})
	sent := 0
	save := func(n int) {
		t.Helper()
		for range n {
			sent++
			e := storetest.Envelope("Message-ID: <1@example.org>\r\nReply-To: b@example.org\r\nSubject: s\r\n\r\n", fmt.Sprintf("u%d@example.com", sent))
			start := time.Now()
			if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("Save took %v, want at most 3 s", took)
			}
		}
	}
	save(10)
	server.Kill()
	save(20)
	server.Start(t)
	save(10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := redigo.Values(server.Connect(t).Do("XRANGE", "messages", "-", "+"))
	if err != nil {
		t.Fatal(err)
	}
	// The first entries were lost with the killed Redis, which has no persistence.
	if len(entries) < 20 || len(entries) > 40 {
		t.Errorf("the stream has %d entries, want from 20 to 40", len(entries))
	}
	last := 0
	for _, entry := range entries {
		parts, _ := redigo.Values(entry, nil)
		fields, err := redigo.StringMap(parts[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		fmt.Sscanf(fields["to"], "u%d@", &n)
		if n <= last {
			t.Errorf("the entry of %s follows the entry of u%d", fields["to"], last)
		}
		last = n
		if date, err := time.Parse(time.RFC3339, fields["date"]); err != nil || time.Since(date) > time.Minute {
			t.Errorf("date is %q, want the current time", fields["date"])
		}
		if len(fields["hash"]) != 32 {
			t.Errorf("hash is %q, want 32 digits", fields["hash"])
		}
		for name, want := range map[string]string{"from": "a@example.org", "size": "68", "subject": "s", "helo": "client.example.org",
			"message_id": "1@example.org", "reply_to": "b@example.org", "sender": "", "tls": "", "login": "", "proxy": ""} {
			if fields[name] != want {
				t.Errorf("%s is %q, want %q", name, fields[name], want)
			}
		}
	}
	if last != sent {
		t.Errorf("the last entry is of message %d, want %d", last, sent)
	}
}
