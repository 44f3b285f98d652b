package redis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/discard"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/savemail/storetest"
	"goguerrillad/internal/testserver"
)

const (
	down    = "Redis is down"
	back    = "Redis is back"
	forgets = "forgets all messages when it ends"
	evicts  = "maxmemory-policy is not noeviction"
	seconds = "appendfsync is not always"
	since   = "loses the messages since its last snapshot"
)

// TestWhereItIs: over TCP and a unix socket, with a password and in another
// database, for as long as it was told.
func TestWhereItIs(t *testing.T) {
	f := startRedis(t, "--requirepass", "se cret")
	for _, host := range []string{f.server.Addr, f.server.Socket} {
		f.open(func(o *redis.Options) { o.Host, o.Pass, o.DB, o.Expire = host, "se cret", 3, 7*time.Second })
		e, in := f.save(2)
		if !in[0] || !in[1] {
			t.Fatalf("not in Redis: %v\n%s", in, f.log.String())
		}
		if _, err := f.conn.Do("AUTH", "se cret"); err != nil {
			t.Fatal(err)
		}
		f.conn.Do("SELECT", 3)
		for i, to := range e.To {
			f.want(to.Hash, string(e.AppendBlob(nil, i)))
			if ttl, err := redigo.Int(f.conn.Do("TTL", to.Hash)); err != nil || ttl < 1 || ttl > 7 {
				t.Errorf("TTL %d, %v", ttl, err)
			}
		}
	}
	f.logged(down, 0)
	f.logged("REDIS_MODE=store", 2)
}

// TestOutcomes: what the table refuses leaves nothing in Redis, except where a
// row may refer to it.
func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		inPlace      bool
		err          error
		before, then bool // in Redis when the store saves, and afterwards
	}{
		{true, nil, true, true},
		{true, savemail.ErrUnavailable, true, false},
		{true, savemail.ErrRejected, true, false},
		{true, savemail.ErrUnknown, true, true},
		{false, nil, false, true},
		{false, savemail.ErrUnavailable, false, false},
		{false, savemail.ErrRejected, false, false},
		{false, savemail.ErrUnknown, false, false},
	} {
		t.Run(fmt.Sprintf("%v, %v", tt.inPlace, tt.err), func(t *testing.T) {
			f := start(t, func(o *redis.Options) { o.InPlace = tt.inPlace })
			keys := func() bool {
				n, err := redigo.Int(f.conn.Do("DBSIZE"))
				if err != nil {
					t.Fatal(err)
				}
				return n == 2
			}
			before := false
			f.inner.err, f.inner.watch = tt.err, func() { before = keys() }
			_, in := f.save(2)
			if then := keys(); before != tt.before || then != tt.then || in[0] != tt.before || in[1] != tt.before {
				t.Errorf("in Redis before %v, after %v, told the store %v", before, then, in)
			}
		})
	}
}

// TestSavedAgain: an envelope that is saved again, as the Committer does with
// halves of a batch, is stored without Redis when Redis is down by then.
func TestSavedAgain(t *testing.T) {
	f := start(t, nil)
	f.found()
	f.await()
	f.inner.err = savemail.ErrRejected
	e, in := f.save(2)
	if !in[0] || !in[1] {
		t.Fatalf("not in Redis: %v", in)
	}
	f.server.Kill()
	f.inner.err = nil
	if err := f.store.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	if in := f.inner.inRedis; in[0] || in[1] {
		t.Errorf("the store was told that the message is in Redis: %v", in)
	}
}

// TestOutages: whatever Redis does, the store saves, and is told that it has
// to keep the message itself. Its end and its return are logged once each.
func TestOutages(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server []string
		end    func(*fixture)
		mend   func(*fixture)
		reason string
	}{
		{"killed", nil, func(f *fixture) { f.server.Kill() }, func(f *fixture) { f.server.Start(f.t) }, "connection refused"},
		{"hung", nil, func(f *fixture) { f.server.Pause(f.t) }, func(f *fixture) { f.server.Continue(f.t) }, "i/o timeout"},
		{"full", []string{"--maxmemory-policy", "noeviction"},
			func(f *fixture) { f.do("CONFIG", "SET", "maxmemory", "1mb") },
			func(f *fixture) { f.do("CONFIG", "SET", "maxmemory", "0") }, "OOM"},
		{"read only", nil,
			func(f *fixture) { f.do("REPLICAOF", "127.0.0.1", "1") },
			func(f *fixture) { f.do("REPLICAOF", "NO", "ONE") }, "READONLY"},
		{"wrong password", []string{"--requirepass", "one"},
			func(f *fixture) {
				f.do("AUTH", "one")
				f.do("CONFIG", "SET", "requirepass", "two")
				f.do("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
			},
			func(f *fixture) { f.do("CONFIG", "SET", "requirepass", "one") }, "WRONGPASS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, func(o *redis.Options) {
				if len(tt.server) > 0 && tt.server[0] == "--requirepass" {
					o.Pass = "one"
				}
			}, tt.server...)
			f.found()
			f.await()
			tt.end(f)
			for range 30 {
				if e, in := f.save(2); in[0] || in[1] {
					t.Fatalf("%s is in Redis", e.To[0].Hash)
				}
			}
			f.logged(down, 1)
			f.logged(tt.reason, 1)
			tt.mend(f)
			e := f.await()
			f.conn = f.server.Connect(t)
			f.conn.Do("AUTH", "one")
			f.want(e.To[0].Hash, string(e.AppendBlob(nil, 0)))
			f.logged(down, 1)
			f.logged(back, 1)
		})
	}
}

func (f *fixture) do(command string, args ...any) {
	f.t.Helper()
	if _, err := f.conn.Do(command, args...); err != nil {
		f.t.Fatalf("%s: %v", command, err)
	}
}

// TestRestart: a restart between two mails costs neither of them its place.
func TestRestart(t *testing.T) {
	f := start(t, nil)
	f.found()
	f.await()
	f.server.Kill()
	f.server.Start(t)
	if _, in := f.save(1); !in[0] {
		t.Errorf("not in Redis:\n%s", f.log.String())
	}
	f.logged(down, 0)
}

// TestAwayAtTheStart: nothing waits for it, and it is found later.
func TestAwayAtTheStart(t *testing.T) {
	f := startRedis(t)
	f.server.Kill()
	f.open(nil)
	f.save(1)
	f.server.Start(t)
	f.await()
	f.logged(down, 1)
	f.logged(back, 1)
}

// TestHungIsWaitedForOnce: the second mail does not pay again for what the
// first has found out.
func TestHungIsWaitedForOnce(t *testing.T) {
	f := start(t, nil)
	f.found()
	f.await()
	f.server.Pause(t)
	defer f.server.Continue(t)
	f.save(1)
	begun := time.Now()
	for range 1000 {
		f.save(1)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("1000 Saves took %v", took)
	}
}

// TestWarnings: settings with which Redis forgets are told at the start.
func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server []string
		want   []string
	}{
		{"neither", nil, []string{forgets}},
		{"snapshots", []string{"--save", "3600 1"}, []string{since}},
		{"append only", []string{"--appendonly", "yes"}, []string{seconds}},
		{"append only, synced", []string{"--appendonly", "yes", "--appendfsync", "always"}, nil},
		{"evicting", []string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"}, []string{evicts}},
		{"both", []string{"--maxmemory-policy", "allkeys-lru"}, []string{forgets, evicts}},
		{"CONFIG renamed", []string{"--rename-command", "CONFIG", ""}, nil},
		{"hardly any rights", []string{"--user", "default", "on", "nopass", "~*", "+setex", "+del", "+ping"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, nil, tt.server...)
			f.found()
			f.await()
			for _, warning := range []string{forgets, evicts, seconds, since} {
				n := 0
				for _, w := range tt.want {
					if w == warning {
						n = 1
					}
				}
				f.logged(warning, n)
			}
			f.logged(down, 0)
		})
	}
}

// TestReader: a message is found where it lies, and said to be gone when it is.
func TestReader(t *testing.T) {
	f := start(t, nil)
	table := errors.New("the table is away")
	show := func(err error, o redis.Options, hash string) (string, error) {
		r := redis.NewReader(reader{err}, o)
		defer r.Close()
		mail, err := r.Show(t.Context(), hash)
		return string(mail), err
	}
	here := redis.Options{Host: f.server.Addr}
	f.do("SET", "plain", "Return-Path: <>\r\n\r\nx")
	f.do("SET", "zlib", string(new(savemail.Compressor).Append(nil, []byte("\x78\x01 of 2012"))))
	f.do("SET", "other", "neither")
	for _, tt := range []struct {
		err        error
		o          redis.Options
		hash, want string
		wantErr    string
	}{
		{savemail.ErrInRedis, here, "plain", "Return-Path: <>\r\n\r\nx", ""},
		{savemail.ErrInRedis, here, "zlib", "\x78\x01 of 2012", ""},
		{savemail.ErrNotFound, here, "plain", "Return-Path: <>\r\n\r\nx", ""},
		{table, here, "plain", "Return-Path: <>\r\n\r\nx", ""},
		{savemail.ErrInRedis, here, "gone", "", "is there no more"},
		{savemail.ErrInRedis, here, "other", "", "expand the mail"},
		{savemail.ErrNotFound, here, "gone", "", savemail.ErrNotFound.Error()},
		{table, here, "gone", "", table.Error()},
		{savemail.ErrInRedis, redis.Options{Host: "127.0.0.1:1"}, "plain", "", "look into Redis at 127.0.0.1:1"},
	} {
		got, err := show(tt.err, tt.o, tt.hash)
		if got != tt.want || (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s, the table says %v: got %q, %v", tt.hash, tt.err, got, err)
		}
	}
}

// reader is a table that fails in one way.
type reader struct{ err error }

func (r reader) List(_ context.Context, n int) ([]savemail.Listed, error) { return nil, r.err }
func (r reader) Show(context.Context, string) ([]byte, error)             { return nil, r.err }
func (r reader) Close() error                                             { return nil }

// TestLeavesNothing: no connection and no goroutine stays behind an outage or
// the end.
func TestLeavesNothing(t *testing.T) {
	f := start(t, nil)
	clients := func() int {
		list, err := redigo.String(f.conn.Do("CLIENT", "LIST"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n") - 1 // but for our own
	}
	f.found()
	f.await()
	for range 100 {
		f.do("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
		f.save(1)
	}
	if n := clients(); n > 2 {
		t.Errorf("%d connections", n)
	}
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	testserver.Await(t, nil, 10*time.Second, "connections stay", func() error {
		if n := clients(); n > 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	f.logged(down, 0)
}

// TestStream: entries in order, while Redis comes and goes, and what is queued
// leaves before the end.
func TestStream(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Redis")
	}
	server := testserver.Redis(t)
	log := &testserver.Journal{}
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
