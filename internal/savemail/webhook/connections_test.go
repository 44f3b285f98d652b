package webhook_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/webhook"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

// TestConnections: the store has at most Writers+1 connections and reuses them. Dead
// idle connections cause no error.
func TestConnections(t *testing.T) {
	var running, peak, opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		io.Copy(io.Discard, r.Body)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	s := open(t, server.URL, nil)
	all := func() {
		t.Helper()
		var posts sync.WaitGroup
		for range 200 {
			posts.Go(func() {
				if err := save(t, s, storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 20*time.Second); err != nil {
					t.Error(err)
				}
			})
		}
		posts.Wait()
	}
	all()
	if n := peak.Load(); n > webhook.Writers+1 {
		t.Errorf("%d concurrent posts, want at most %d", n, webhook.Writers+1)
	}
	if n := opened.Load(); n > webhook.Writers+1 {
		t.Errorf("%d connections, want at most %d", n, webhook.Writers+1)
	}
	server.CloseClientConnections()
	all()
}

// TestResponseBody: the store reuses a connection after a response of at most 16 KiB.
// Close closes the connection.
func TestResponseBody(t *testing.T) {
	for size, want := range map[int]int32{0: 1, 16<<10 - 1: 1, 16 << 10: 1, 16<<10 + 1: 3} {
		var opened, closed atomic.Int32
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", strconv.Itoa(size))
			w.Write(bytes.Repeat([]byte("x"), size))
		}))
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				opened.Add(1)
			case http.StateClosed:
				closed.Add(1)
			}
		}
		server.Start()
		defer server.Close()
		s := open(t, server.URL, nil)
		for range 3 {
			if err := save(t, s, storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 10*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if opened.Load() != want {
			t.Errorf("responses of %d bytes: %d connections, want %d", size, opened.Load(), want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		test.Await(t, nil, 10*time.Second, "connections are open after Close", func() error {
			if n := opened.Load() - closed.Load(); n > 0 {
				return fmt.Errorf("%d connections", n)
			}
			return nil
		})
	}
}

// TestReadersEnd: the goroutines that read a message end after Save has returned.
func TestReadersEnd(t *testing.T) {
	e := storetest.Envelope("Subject: x\r\n\r\n"+strings.Repeat("0123456789abcdef0123456789abcd\r\n", 4<<20/32), "b@example.com")
	for _, http2 := range []bool{false, true} {
		server := startServer(t, http2, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		s := webhook.New(webhook.Options{URL: server.URL, TLS: &tls.Config{InsecureSkipVerify: true}})
		defer s.Close()
		for range 10 {
			if err := save(t, s, e, 10*time.Second); err == nil {
				t.Error("outcome nil, want an error")
			}
		}
		test.Await(t, nil, 10*time.Second, "goroutines read a message after its Save", func() error {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			if n := bytes.Count(stacks, []byte("webhook.(*reader).Read(")); n > 0 {
				return fmt.Errorf("%d goroutines", n)
			}
			return nil
		})
	}
}

// TestRepeats: a POST without a response is repeated once, with the same id. The
// second response decides the outcome only if it accepts or refuses the message, since
// the receiver may have stored the message of the first POST.
func TestRepeats(t *testing.T) {
	for second, want := range map[int]error{
		http.StatusOK: nil, http.StatusUnprocessableEntity: savemail.ErrRefused, http.StatusServiceUnavailable: savemail.ErrUnknown, 0: savemail.ErrUnknown,
	} {
		ids := make(chan string, 9)
		s, _ := receive(t, func(w http.ResponseWriter, r *http.Request) {
			p, err := read(r)
			if err != nil {
				t.Error(err)
			}
			ids <- p.header.Get("webhook-id")
			if len(ids) == 1 || second == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(second)
		})
		err := save(t, s, storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 10*time.Second)
		if !errors.Is(err, want) || errors.Is(err, savemail.ErrUnknown) != (want == savemail.ErrUnknown) {
			t.Errorf("second response %d: outcome %v, want %v", second, err, want)
		}
		if len(ids) != 2 {
			t.Fatalf("second response %d: %d posts, want 2", second, len(ids))
		}
		if first, second := <-ids, <-ids; first != second {
			t.Errorf("the ids are %s and %s, want equal ids", first, second)
		}
	}
}

// A closingListener closes its first connection immediately.
type closingListener struct {
	net.Listener
	once sync.Once
}

func (l *closingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.once.Do(func() { c.Close() })
	}
	return c, err
}

// TestSecondPostLost: the outcome is unknown if the first POST was not sent and
// the second gets no response.
func TestSecondPostLost(t *testing.T) {
	var posts atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		posts.Add(1)
		panic(http.ErrAbortHandler)
	}))
	server.Listener = &closingListener{Listener: server.Listener}
	server.StartTLS() // without TLS, the first POST is sent before the client sees that the connection is closed
	defer server.Close()
	err := save(t, open(t, server.URL, server.Certificate()), storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 10*time.Second)
	if !errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome %v, want %v", err, savemail.ErrUnknown)
	}
	if n := posts.Load(); n != 1 {
		t.Errorf("the receiver got %d posts, want 1", n)
	}
}
