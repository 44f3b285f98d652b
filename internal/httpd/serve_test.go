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

const patience = 20 * time.Second

// blocking answers /wait when the test lets it, and all else at once.
type blocking struct{ reached, goOn chan struct{} }

func newBlocking() blocking { return blocking{make(chan struct{}, 10), make(chan struct{})} }

func (b blocking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/wait" {
		b.reached <- struct{}{}
		<-b.goOn
	}
	io.WriteString(w, "answer")
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// request sends a request on a connection of its own.
func request(t *testing.T, l net.Listener, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

func wantAnswer(t *testing.T, c net.Conn) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || string(body) != "answer" {
		t.Errorf("%d %q, %v", r.StatusCode, body, err)
	}
}

const (
	atOnce = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	wait   = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
)

// TestReplace: a second Serve closes the listeners of the first, whose request still
// gets its answer.
func TestReplace(t *testing.T) {
	var log test.Log
	b := newBlocking()
	s := &httpd.Server{Name: "test", Handler: b, Log: slog.New(slog.NewTextHandler(&log, nil))}
	first, second := listen(t), listen(t)
	s.Serve([]net.Listener{first}, 10)
	slow := request(t, first, wait)
	<-b.reached
	s.Serve([]net.Listener{second}, 10)
	wantAnswer(t, request(t, second, atOnce))
	test.Await(t, nil, patience, "the first listener is not closed", func() error {
		c, err := net.Dial("tcp", first.Addr().String())
		if err != nil {
			return nil
		}
		c.Close()
		return io.ErrNoProgress
	})
	close(b.goOn)
	wantAnswer(t, slow)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
	if log.String() != "" {
		t.Errorf("the log has\n%s", log.String())
	}
}

// noticing is a listener that reports each connection that it accepts.
type noticing struct {
	net.Listener
	accepted chan struct{}
}

func (l noticing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- struct{}{}
	}
	return c, err
}

// TestReplaceAccepted: a second Serve closes the idle connections of the first. One
// that is accepted gets its answer, also when its request comes later.
func TestReplaceAccepted(t *testing.T) {
	var log test.Log
	s := &httpd.Server{Name: "test", Handler: newBlocking(), Log: slog.New(slog.NewTextHandler(&log, nil))}
	first := noticing{listen(t), make(chan struct{}, 2)}
	s.Serve([]net.Listener{first}, 10)
	idle := request(t, first, atOnce)
	wantAnswer(t, idle)
	accepted := request(t, first, "")
	<-first.accepted
	<-first.accepted
	s.Serve([]net.Listener{listen(t)}, 10)
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the idle client gets %v", err)
	}
	if _, err := io.WriteString(accepted, atOnce); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, accepted)
	if _, err := accepted.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the answer the client gets %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if log.String() != "" {
		t.Errorf("the log has\n%s", log.String())
	}
}

// TestClients: a connection beyond the limit waits until another one ends.
func TestClients(t *testing.T) {
	b := newBlocking()
	s := &httpd.Server{Name: "test", Handler: b, Log: slog.New(slog.DiscardHandler)}
	l := listen(t)
	s.Serve([]net.Listener{l}, 2)
	inside := []net.Conn{request(t, l, wait), request(t, l, wait)}
	<-b.reached
	<-b.reached
	third := request(t, l, wait)
	b.goOn <- struct{}{}
	b.goOn <- struct{}{}
	for _, c := range inside {
		wantAnswer(t, c)
	}
	select {
	case <-b.reached:
		t.Error("three connections at once")
	default:
	}
	inside[0].Close()
	<-b.reached
	close(b.goOn)
	wantAnswer(t, third)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestShutdown: a request that outlasts the stop is cut off, and the error names the
// server.
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
		t.Errorf("error %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client gets %v", err)
	}
	close(b.goOn)
}

// TestListenerFails: the log reports a listener that no longer accepts.
func TestListenerFails(t *testing.T) {
	var log test.Log
	s := &httpd.Server{Name: "test", Handler: newBlocking(), Log: slog.New(slog.NewTextHandler(&log, nil))}
	l := listen(t)
	s.Serve([]net.Listener{l}, 10)
	l.Close()
	test.Await(t, nil, patience, "the log lacks the failure", func() error {
		if !strings.Contains(log.String(), `level=ERROR msg="test has stopped" listen=`+l.Addr().String()+" error=") {
			return io.ErrNoProgress
		}
		return nil
	})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLongHeader: the header of a request is bounded, and has room for a certificate
// that nginx passes on.
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
			t.Errorf("a header of %d bytes: answered %v, %v", size, ok, err)
		}
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
