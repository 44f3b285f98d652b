package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail/discard"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// A slowRedis is a server that replies to SETEX after the time slow, or never if
// hangs is set.
type slowRedis struct {
	connections, open atomic.Int64
	hangs             atomic.Bool
}

const slow = 100 * time.Millisecond

func (r *slowRedis) serve(conn net.Conn) {
	r.connections.Add(1)
	r.open.Add(1)
	defer r.open.Add(-1)
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		reply := ""
		switch lines.Text() {
		case "PING":
			reply = "+PONG\r\n"
		case "INFO":
			reply = "$0\r\n\r\n"
		case "CONFIG":
			reply = "*0\r\n"
		case "SETEX":
			if !r.hangs.Load() {
				time.Sleep(slow)
				reply = "+OK\r\n"
			}
		}
		if _, err := conn.Write([]byte(reply)); err != nil {
			return
		}
	}
}

// startSlow starts a slowRedis and returns its address.
func startSlow(t *testing.T) (r *slowRedis, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r = &slowRedis{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r, l.Addr().String()
}

// TestSaveTimeout: each Save may wait for saveTimeout, even if many Saves use the
// same connection one after the other.
func TestSaveTimeout(t *testing.T) {
	t.Parallel()
	r, addr := startSlow(t)
	f := &fixture{t: t, server: &servers.RedisServer{Addr: addr}, inner: &recorder{}}
	f.open(nil)
	f.awaitConnected()
	for n := range 1 + time.Second/slow {
		if _, in := f.save(1); !in[0] {
			t.Fatalf("message %d is not in Redis:\n%s", n, f.log.String())
		}
	}
	if n := r.connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestLostConnections: when one connection is lost, the client closes the idle
// connections, which may be dead as well.
func TestLostConnections(t *testing.T) {
	t.Parallel()
	r, addr := startSlow(t)
	var log test.Log
	s := redis.New(discard.Store{}, redis.Options{Host: addr, InPlace: true, Expire: time.Hour, Log: log.Logger()})
	defer s.Close()
	save := func() (inRedis bool) {
		e := storetest.Envelope(text, "b@example.com")
		s.Save(t.Context(), []*envelope.Envelope{e})
		return e.To[0].InRedis
	}
	test.Await(t, nil, 10*time.Second, "no two Saves run concurrently", func() error {
		var saves sync.WaitGroup
		saves.Go(func() { save() })
		saves.Go(func() { save() })
		saves.Wait()
		if n := r.open.Load(); n < 2 || log.Count(connected) == 0 {
			return fmt.Errorf("%d connections: %s", n, &log)
		}
		return nil
	})
	before := r.connections.Load()
	r.hangs.Store(true)
	if save() {
		t.Error("the message is marked as in Redis although Redis hangs")
	}
	test.Await(t, nil, 10*time.Second, "idle connections are open", func() error {
		if all, open := r.connections.Load(), r.open.Load(); all != before+1 || open != 1 {
			return fmt.Errorf("%d new connections, %d open, want 1 and 1", all-before, open)
		}
		return nil
	})
}

// A brokenStore returns no outcomes, which the contract of a store forbids.
type brokenStore struct{ recorder }

func (*brokenStore) Save(context.Context, []*envelope.Envelope) []error { return nil }

// TestNoOutcomes: an inner store that returns no outcomes does not end the process.
func TestNoOutcomes(t *testing.T) {
	for _, inPlace := range []bool{true, false} {
		s := redis.New(&brokenStore{}, redis.Options{Host: "127.0.0.1:1", InPlace: inPlace, Stream: "messages", StreamMax: 10, Log: new(test.Log).Logger()})
		if errs := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, "b@example.com")}); len(errs) > 0 {
			t.Errorf("outcomes %v, want none", errs)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
