package authhttp_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/authhttp"
)

// TestReachable: nginx gets an address that it can connect to.
func TestReachable(t *testing.T) {
	unix := &net.UnixAddr{Net: "unix", Name: "/run/smtp"}
	for _, tt := range []struct {
		at   string // address of auth_http
		own  []net.Addr
		want string
	}{
		{"127.0.0.1:0", []net.Addr{tcp("0.0.0.0:25")}, "OK 127.0.0.1:25"},
		{"127.0.0.1:0", []net.Addr{tcp("[::]:2525")}, "OK 127.0.0.1:2525"},
		{"127.0.0.1:0", []net.Addr{tcp("[2001:db8::1]:25")}, "OK [2001:db8::1]:25"},
		{"127.0.0.1:0", []net.Addr{tcp("192.0.2.1:25"), tcp("127.0.0.1:2525")}, "OK 127.0.0.1:2525"},
		{"127.0.0.1:0", []net.Addr{tcp("192.0.2.1:25"), tcp("192.0.2.2:2525")}, "OK 192.0.2.1:25"},
		{"127.0.0.1:0", []net.Addr{unix, tcp("192.0.2.1:25")}, "OK 192.0.2.1:25"},
		{"127.0.0.1:0", []net.Addr{unix}, "451 4.3.2 No server available, try again later, wait 1"},
		{"[::1]:0", []net.Addr{tcp("0.0.0.0:25")}, "OK 127.0.0.1:25"},
		{"[::1]:0", []net.Addr{tcp("192.0.2.1:25"), tcp("0.0.0.0:2525")}, "OK 192.0.2.1:25"},
		{"[::1]:0", []net.Addr{tcp("[::]:2525")}, "OK [::1]:2525"},
		{"[::1]:0", []net.Addr{tcp("192.0.2.1:25"), tcp("[::1]:2525")}, "OK [::1]:2525"},
	} {
		f := startAt(t, tt.at, authhttp.Settings{Own: tt.own})
		if got := outcome(f.ask(t, request())); got != tt.want {
			t.Errorf("SMTP on %v, auth_http on %s: the response is %q, want %q", tt.own, tt.at, got, tt.want)
		}
	}
}

// TestTrustedNginx: an nginx that is not a trusted proxy is logged once.
func TestTrustedNginx(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		f := start(t, authhttp.Settings{})
		f.trusted.Store(trusted)
		for range 3 {
			f.ask(t, request())
		}
		if n := strings.Count(f.log.String(), "nginx is not a trusted proxy"); n != map[bool]int{true: 0, false: 1}[trusted] {
			t.Errorf("trusted %v: the log has %d warnings:\n%s", trusted, n, f.log.String())
		}
	}
}

// watched is a context that reports calls of Done.
type watched struct {
	context.Context
	waits chan struct{}
}

func (w watched) Done() <-chan struct{} {
	select {
	case w.waits <- struct{}{}:
	default:
	}
	return w.Context.Done()
}

// TestReloadWhileWaiting: a request that waits for the first check of a backend gets
// its response when a reload removes the backend.
func TestReloadWhileWaiting(t *testing.T) {
	t.Parallel()
	f := start(t, authhttp.Settings{Backends: addrs(newBackend(t, "", -1))})
	ctx := watched{t.Context(), make(chan struct{}, 1)}
	q := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
	q.Header.Set("Auth-Method", "none")
	answer := make(chan http.Header, 1)
	go func() {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, q)
		answer <- w.Header()
	}()
	<-ctx.waits
	f.Reload(authhttp.Settings{Own: []net.Addr{tcp("192.0.2.1:25")}})
	select {
	case h := <-answer:
		if got := outcome(h); !strings.HasPrefix(got, "451 4.3.2 ") {
			t.Errorf("the response is %q, want 451 4.3.2", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("no response within 20 s")
	}
}
