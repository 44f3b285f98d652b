package redis_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

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
	misses = "the Redis stream misses mails"
	goesOn = "the Redis stream goes on, without some mails"
)

// TestStreamMisses: while Redis is unavailable, 10,000 entries and a batch wait. The
// log reports once that entries are left out, and at the end how many.
func TestStreamMisses(t *testing.T) {
	f := startRedis(t)
	f.server.Kill()
	f.open(func(o *redis.Options) { o.InPlace, o.Stream, o.StreamMax = false, "mails", 100_000 })
	const wait, batch = 10_000, 500
	const rows = wait + batch + 100
	f.save(wait)
	for range rows - wait {
		f.save(1)
	}
	f.logged(misses, 1)
	f.server.Start(t)
	f.conn = f.server.Connect(t)
	var missed int
	test.Await(t, nil, 30*time.Second, "the stream does not go on", func() error {
		_, after, ok := strings.Cut(f.log.String(), goesOn)
		if !ok {
			return errors.New(f.log.String())
		}
		_, after, _ = strings.Cut(after, "missed=")
		if _, err := fmt.Sscan(after, &missed); err != nil {
			t.Fatal(err)
		}
		n, err := redigo.Int(f.conn.Do("XLEN", "mails"))
		if err == nil && n < rows-missed {
			err = fmt.Errorf("%d entries, %d were missed", n, missed)
		}
		return err
	})
	if most := rows - wait; missed < most-batch || missed > most {
		t.Errorf("%d were missed, want from %d to %d", missed, most-batch, most)
	}
	f.logged(goesOn, 1)
}

// TestStreamOutcomes: the stream gets entries only for rows that were committed.
func TestStreamOutcomes(t *testing.T) {
	f := start(t, func(o *redis.Options) { o.Stream, o.StreamMax = "mails", 1000 })
	f.found()
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
		entries, err := redigo.Values(f.conn.Do("XRANGE", "mails", "-", "+"))
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
			return fmt.Errorf("%d entries", len(got))
		}
		return nil
	})
	if !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

// TestStreamEnds: Close returns although Redis is unavailable.
func TestStreamEnds(t *testing.T) {
	var log test.Log
	s := redis.New(&ledger{}, redis.Options{Host: "127.0.0.1:1", Stream: "mails", StreamMax: 1000, Log: log.Logger()})
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

// TestStream: entries in order, while Redis comes and goes, and what is queued
// leaves before the end.
func TestStream(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Redis")
	}
	server := servers.Redis(t)
	log := &test.Log{}
	s := redis.New(discard.Store{}, redis.Options{Host: server.Addr, Expire: time.Hour, Stream: "mails", StreamMax: 1000,
		Log: slog.New(slog.NewTextHandler(log, nil))})
	sent := 0
	save := func(n int) {
		t.Helper()
		for range n {
			sent++
			e := storetest.Envelope("Subject: s\r\n\r\n", fmt.Sprintf("u%d@example.com", sent))
			begun := time.Now()
			if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("a mail takes %v", took)
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
	entries, err := redigo.Values(server.Connect(t).Do("XRANGE", "mails", "-", "+"))
	if err != nil {
		t.Fatal(err)
	}
	// The first ones have died with a Redis that saves nothing.
	if len(entries) < 20 || len(entries) > 40 {
		t.Errorf("%d entries", len(entries))
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
			t.Errorf("entry of %s comes behind %d", fields["to"], last)
		}
		last = n
		if date, err := time.Parse(time.RFC3339, fields["date"]); err != nil || time.Since(date) > time.Minute ||
			len(fields["hash"]) != 32 || fields["from"] != "a@example.org" || fields["size"] != "14" || fields["subject"] != "s" {
			t.Errorf("%v", fields)
		}
	}
	if last != sent {
		t.Errorf("the last entry is of mail %d, want %d", last, sent)
	}
}
