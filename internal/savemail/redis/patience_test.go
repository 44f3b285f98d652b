package redis_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/savemail/storetest"
	"goguerrillad/internal/testserver"
)

// slow is how long the Redis of answer takes for a message.
const slow = 100 * time.Millisecond

// TestPatience: each Save has its own second for a Redis that is slow, on a connection
// that is kept as well.
func TestPatience(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var connections atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go answer(conn, "+PONG\r\n")
		}
	}()
	f := &fixture{t: t, server: &testserver.RedisServer{Addr: l.Addr().String()}, inner: &ledger{}}
	f.open(nil)
	f.found()
	for n := range 1 + time.Second/slow {
		if _, in := f.save(1); !in[0] {
			t.Fatalf("message %d is not in Redis:\n%s", n, f.log.String())
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// silent is a store without outcomes, which its contract forbids.
type silent struct{ ledger }

func (*silent) Save(context.Context, []*envelope.Envelope) []error { return nil }

// TestNoOutcomes: a store without outcomes does not end the process.
func TestNoOutcomes(t *testing.T) {
	for _, inPlace := range []bool{true, false} {
		s := redis.New(&silent{}, redis.Options{Host: "127.0.0.1:1", InPlace: inPlace, Stream: "mails", StreamMax: 10, Log: new(testserver.Journal).Logger()})
		if errs := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, "b@example.com")}); len(errs) > 0 {
			t.Errorf("outcomes %v", errs)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
