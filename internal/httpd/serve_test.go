package httpd_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/httpd"
	"goguerrillad/internal/test"
)

const timeout = 20 * time.Second

// A blocking handler responds to /wait after a receive from release, and to other
// paths immediately.
type blocking struct{ reached, release chan struct{} }

func newBlocking() blocking { return blocking{make(chan struct{}, 10), make(chan struct{})} }

func (b blocking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/wait" {
		b.reached <- struct{}{}
		<-b.release
	}
	io.WriteString(w, "response")
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// request sends a request on a new connection.
func request(t *testing.T, l net.Listener, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

func wantResponse(t *testing.T, c net.Conn) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || string(body) != "response" {
		t.Errorf("status %d, body %q, error %v", r.StatusCode, body, err)
	}
}

const (
	immediate = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	wait      = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
)

// TestReplace tests that a second Serve closes the listeners of the first, and that
// a request in flight still gets its response.
func TestReplace(t *testing.T) {
	var log test.Log
	b := newBlocking()
	s := &httpd.Server{Name: "test", Handler: b, Log: slog.New(slog.NewTextHandler(&log, nil))}
	first, second := listen(t), listen(t)
	s.Serve([]net.Listener{first}, 10)
	slow := request(t, first, wait)
	<-b.reached
	s.Serve([]net.Listener{second}, 10)
	wantResponse(t, request(t, second, immediate))
	test.Await(t, nil, timeout, "the first listener is not closed", func() error {
		c, err := net.Dial("tcp", first.Addr().String())
		if err != nil {
			return nil
		}
		c.Close()
		return io.ErrNoProgress
	})
	close(b.release)
	wantResponse(t, slow)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
	if log.String() != "" {
		t.Errorf("log is not empty:\n%s", log.String())
	}
}

// A reporting listener reports each connection that it accepts.
type reporting struct {
	net.Listener
	accepted chan struct{}
}

func (l reporting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- struct{}{}
	}
	return c, err
}

// TestReplaceAccepted tests that a second Serve closes the idle connections of the
// first, and that a connection without a request yet still gets its response.
func TestReplaceAccepted(t *testing.T) {
	var log test.Log
	s := &httpd.Server{Name: "test", Handler: newBlocking(), Log: slog.New(slog.NewTextHandler(&log, nil))}
	first := reporting{listen(t), make(chan struct{}, 2)}
	s.Serve([]net.Listener{first}, 10)
	idle := request(t, first, immediate)
	wantResponse(t, idle)
	accepted := request(t, first, "")
	<-first.accepted
	<-first.accepted
	s.Serve([]net.Listener{listen(t)}, 10)
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read of the idle client: error %v, want EOF", err)
	}
	if _, err := io.WriteString(accepted, immediate); err != nil {
		t.Fatal(err)
	}
	wantResponse(t, accepted)
	if _, err := accepted.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read after the response: error %v, want EOF", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if log.String() != "" {
		t.Errorf("log is not empty:\n%s", log.String())
	}
}

// TestMaxClients tests that a connection beyond the limit waits until another
// connection ends.
func TestMaxClients(t *testing.T) {
	b := newBlocking()
	s := &httpd.Server{Name: "test", Handler: b, Log: slog.New(slog.DiscardHandler)}
	l := listen(t)
	s.Serve([]net.Listener{l}, 2)
	inside := []net.Conn{request(t, l, wait), request(t, l, wait)}
	<-b.reached
	<-b.reached
	third := request(t, l, wait)
	b.release <- struct{}{}
	b.release <- struct{}{}
	for _, c := range inside {
		wantResponse(t, c)
	}
	select {
	case <-b.reached:
		t.Error("three connections at once, want two")
	default:
	}
	inside[0].Close()
	<-b.reached
	close(b.release)
	wantResponse(t, third)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestShutdown tests that Shutdown closes the connection of a request that takes
// too long, and that its error names the server.
func TestShutdown(t *testing.T) {
	b := newBlocking()
	s := &httpd.Server{Name: "test", Handler: b, Log: slog.New(slog.DiscardHandler)}
	l := listen(t)
	s.Serve([]net.Listener{l}, 10)
	c := request(t, l, wait)
	<-b.reached
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err == nil || !strings.HasPrefix(err.Error(), "stop test: ") {
		t.Errorf("error %v, want stop test: ...", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read of the client: error %v, want EOF", err)
	}
	close(b.release)
}

// TestListenerFails tests that the failure of a listener is logged.
func TestListenerFails(t *testing.T) {
	var log test.Log
	s := &httpd.Server{Name: "test", Handler: newBlocking(), Log: slog.New(slog.NewTextHandler(&log, nil))}
	l := listen(t)
	s.Serve([]net.Listener{l}, 10)
	l.Close()
	test.Await(t, nil, timeout, "the log lacks the failure", func() error {
		if !strings.Contains(log.String(), `level=ERROR msg="HTTP listener failed" server=test listen=`+l.Addr().String()+" error=") {
			return io.ErrNoProgress
		}
		return nil
	})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLongHeader tests that the header of a request is bounded, and that a client
// certificate from nginx fits.
func TestLongHeader(t *testing.T) {
	s := &httpd.Server{Name: "test", Handler: newBlocking(), Log: slog.New(slog.DiscardHandler)}
	l := listen(t)
	s.Serve([]net.Listener{l}, 10)
	for size, fits := range map[int]bool{31 << 10: true, 64 << 10: false} {
		c := request(t, l, "GET / HTTP/1.1\r\nHost: x\r\nX-Certificate: "+strings.Repeat("x", size)+"\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			r.Body.Close()
		}
		if ok := err == nil && r.StatusCode == http.StatusOK; ok != fits {
			t.Errorf("header of %d bytes: accepted is %v, error %v, want %v", size, ok, err, fits)
		}
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
