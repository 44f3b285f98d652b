package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/test"
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

// TestExpire: Redis keeps a message for whole seconds, at least one.
func TestExpire(t *testing.T) {
	f := startRedis(t)
	for expire, want := range map[time.Duration]int{0: 1, 999 * time.Millisecond: 1, 2900 * time.Millisecond: 2, time.Hour: 3600} {
		f.open(func(o *redis.Options) { o.Expire = expire })
		f.found()
		var before int
		f.inner.watch = func() {
			n, err := redigo.Int(f.conn.Do("PTTL", f.inner.hash))
			if err != nil {
				t.Fatal(err)
			}
			before = n
		}
		test.Await(t, nil, 10*time.Second, "no message stays long enough", func() error {
			if _, in := f.save(1); !in[0] || before <= want*1000-1000 {
				return fmt.Errorf("%v: %d ms, want %d s", expire, before, want)
			}
			return nil
		})
		if before > want*1000 {
			t.Errorf("%v: a message stays for %d ms, want %d s", expire, before, want)
		}
	}
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

// TestAwayAtTheStart: the log reports it before there is a message. Nothing waits for
// it, and it is found later.
func TestAwayAtTheStart(t *testing.T) {
	f := startRedis(t)
	f.server.Kill()
	f.open(nil)
	test.Await(t, nil, 10*time.Second, "the log does not report that Redis is down", func() error {
		if f.log.Count(down) == 0 {
			return errors.New(f.log.String())
		}
		return nil
	})
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

// TestTexts: the log distinguishes a Redis with copies from a Redis that has the
// messages, and reports what it found once.
func TestTexts(t *testing.T) {
	for _, tt := range []struct {
		inPlace     bool
		text, level string
	}{
		{true, "the table holds the messages", "level=WARN"},
		{false, "it gets no copies of the mail", "level=INFO"},
	} {
		f := start(t, func(o *redis.Options) { o.InPlace = tt.inPlace })
		f.found()
		f.logged(tt.level+" msg=\"Redis forgets all messages when it ends", 1)
		f.server.Kill()
		test.Await(t, nil, 10*time.Second, "Redis is not missed", func() error {
			f.save(1)
			if f.log.Count(down) == 0 {
				return errors.New(f.log.String())
			}
			return nil
		})
		f.logged(tt.text, 1)
		if f.store.(interface{ Up() bool }).Up() {
			t.Error("a Redis that is down is up")
		}
		f.server.Start(t)
		test.Await(t, nil, 10*time.Second, "Redis is not found again", func() error {
			if f.log.Count(back) == 0 || !f.store.(interface{ Up() bool }).Up() {
				return errors.New(f.log.String())
			}
			return nil
		})
		f.logged("Redis is in use", 1)
		f.logged(forgets, 1)
	}
}

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
	test.Await(t, nil, 10*time.Second, "connections stay", func() error {
		if n := clients(); n > 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	f.logged(down, 0)
}
