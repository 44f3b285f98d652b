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

// TestOptions: the Store connects over TCP or a unix socket, and uses the password,
// the database and the expiry.
func TestOptions(t *testing.T) {
	f := startRedis(t, "--requirepass", "se cret")
	for _, host := range []string{f.server.Addr, f.server.Socket} {
		f.open(func(o *redis.Options) { o.Host, o.Pass, o.DB, o.Expire = host, "se cret", 3, 7*time.Second })
		e, in := f.save(2)
		if !in[0] || !in[1] {
			t.Fatalf("in Redis: %v, want both\n%s", in, f.log.String())
		}
		if _, err := f.conn.Do("AUTH", "se cret"); err != nil {
			t.Fatal(err)
		}
		f.conn.Do("SELECT", 3)
		for i, to := range e.To {
			f.checkMessage(to.Hash, string(e.AppendBlob(nil, i)))
			if ttl, err := redigo.Int(f.conn.Do("TTL", to.Hash)); err != nil || ttl < 1 || ttl > 7 {
				t.Errorf("TTL is %d s, want from 1 s to 7 s (error %v)", ttl, err)
			}
		}
	}
	f.checkLog(unavailable, 0)
	f.checkLog("REDIS_MODE=store", 2)
}

// TestExpire: the expiry is rounded down to whole seconds, and is at least 1 s.
func TestExpire(t *testing.T) {
	f := startRedis(t)
	for expire, want := range map[time.Duration]int{0: 1, 999 * time.Millisecond: 1, 2900 * time.Millisecond: 2, time.Hour: 3600} {
		f.open(func(o *redis.Options) { o.Expire = expire })
		f.awaitConnected()
		var before int
		f.inner.onSave = func() {
			n, err := redigo.Int(f.conn.Do("PTTL", f.inner.hash))
			if err != nil {
				t.Fatal(err)
			}
			before = n
		}
		test.Await(t, nil, 10*time.Second, "no message has the expected expiry", func() error {
			if _, in := f.save(1); !in[0] || before <= want*1000-1000 {
				return fmt.Errorf("Expire %v: PTTL is %d ms, want about %d s", expire, before, want)
			}
			return nil
		})
		if before > want*1000 {
			t.Errorf("Expire %v: PTTL is %d ms, want at most %d s", expire, before, want)
		}
	}
}

// TestOutcomes: with InPlace, a message that the inner store does not store is
// removed from Redis, unless a row may refer to it.
func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		inPlace       bool
		err           error
		before, after bool // the messages are in Redis before and after the inner Save
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
			f.inner.err, f.inner.onSave = tt.err, func() { before = keys() }
			_, in := f.save(2)
			if before != tt.before {
				t.Errorf("in Redis before the inner Save: %v, want %v", before, tt.before)
			}
			if after := keys(); after != tt.after {
				t.Errorf("in Redis after the inner Save: %v, want %v", after, tt.after)
			}
			if in[0] != tt.before || in[1] != tt.before {
				t.Errorf("marked as in Redis: %v, want %v", in, tt.before)
			}
		})
	}
}

// TestSaveAgain: Save removes the marks of an earlier Save of the same envelope. The
// Committer saves envelopes again when it halves a batch.
func TestSaveAgain(t *testing.T) {
	f := start(t, nil)
	f.awaitConnected()
	f.awaitStored()
	f.inner.err = savemail.ErrRejected
	e, in := f.save(2)
	if !in[0] || !in[1] {
		t.Fatalf("in Redis: %v, want both", in)
	}
	f.server.Kill()
	f.inner.err = nil
	if err := f.store.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	if in := f.inner.inRedis; in[0] || in[1] {
		t.Errorf("marked as in Redis: %v, want neither", in)
	}
}

// TestOutages: during an outage of Redis, the inner store saves the messages
// without marks. The log reports the outage and its end once each.
func TestOutages(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server []string
		fail   func(*fixture)
		repair func(*fixture)
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
			f.awaitConnected()
			f.awaitStored()
			tt.fail(f)
			for range 30 {
				if e, in := f.save(2); in[0] || in[1] {
					t.Fatalf("%s is marked as in Redis during the outage", e.To[0].Hash)
				}
			}
			f.checkLog(unavailable, 1)
			f.checkLog(tt.reason, 1)
			tt.repair(f)
			e := f.awaitStored()
			f.conn = f.server.Connect(t)
			f.conn.Do("AUTH", "one")
			f.checkMessage(e.To[0].Hash, string(e.AppendBlob(nil, 0)))
			f.checkLog(unavailable, 1)
			f.checkLog(available, 1)
		})
	}
}

// do runs a command on the connection of the test.
func (f *fixture) do(command string, args ...any) {
	f.t.Helper()
	if _, err := f.conn.Do(command, args...); err != nil {
		f.t.Fatalf("%s: %v", command, err)
	}
}

// TestRestart: after a restart of Redis, the next message is stored in Redis.
func TestRestart(t *testing.T) {
	f := start(t, nil)
	f.awaitConnected()
	f.awaitStored()
	f.server.Kill()
	f.server.Start(t)
	if _, in := f.save(1); !in[0] {
		t.Errorf("the message is not in Redis:\n%s", f.log.String())
	}
	f.checkLog(unavailable, 0)
}

// TestUnavailableAtStart: if Redis is unavailable at the start, the log reports it
// before the first message. The Store uses Redis as soon as it is available.
func TestUnavailableAtStart(t *testing.T) {
	f := startRedis(t)
	f.server.Kill()
	f.open(nil)
	test.Await(t, nil, 10*time.Second, "the log does not report the outage", func() error {
		if f.log.Count(unavailable) == 0 {
			return errors.New(f.log.String())
		}
		return nil
	})
	f.save(1)
	f.server.Start(t)
	f.awaitStored()
	f.checkLog(unavailable, 1)
	f.checkLog(available, 1)
}

// TestHungServerDelaysOneSave: only the first Save waits for a server that hangs.
func TestHungServerDelaysOneSave(t *testing.T) {
	f := start(t, nil)
	f.awaitConnected()
	f.awaitStored()
	f.server.Pause(t)
	defer f.server.Continue(t)
	f.save(1)
	start := time.Now()
	for range 1000 {
		f.save(1)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("1000 Saves took %v, want at most 10 s", took)
	}
}

// TestClosesConnections: the client closes dead connections and, after Close, all
// connections.
func TestClosesConnections(t *testing.T) {
	f := start(t, nil)
	clients := func() int {
		list, err := redigo.String(f.conn.Do("CLIENT", "LIST"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n") - 1 // without the connection of the test
	}
	f.awaitConnected()
	f.awaitStored()
	for range 100 {
		f.do("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
		f.save(1)
	}
	if n := clients(); n > 2 {
		t.Errorf("%d connections, want at most 2", n)
	}
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	test.Await(t, nil, 10*time.Second, "connections are open after Close", func() error {
		if n := clients(); n > 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	f.checkLog(unavailable, 0)
}
