package authhttp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/authhttp"
	"goguerrillad/internal/httpd"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/dialogue"
)

// fixture is an auth_http server on a free port, of a daemon that listens for SMTP
// on 192.0.2.1:25.
type fixture struct {
	*authhttp.Server
	addr       string
	log        test.Log
	refusal    atomic.Pointer[smtp.Reply]
	recipients atomic.Pointer[dialogue.Recipients] // nil is all
	sessions   atomic.Int64
	trusted    atomic.Bool // nginx is a trusted proxy
}

// loopback is 127.0.0.0/8 and ::1.
type loopback struct{}

func (loopback) Match(addr netip.Addr) bool { return addr.IsLoopback() }

func start(t testing.TB, settings authhttp.Settings) *fixture {
	t.Helper()
	return startAt(t, "127.0.0.1:0", settings)
}

// startAt starts a server on an address.
func startAt(t testing.TB, addr string, settings authhttp.Settings) *fixture {
	t.Helper()
	usual, err := dialogue.Parse("usual", "")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{}
	f.Server = authhttp.New(authhttp.Options{
		Environment: &session.Environment{
			Settings: func() *session.Settings {
				settings := usual.Settings.Session()
				settings.Verbose = true
				if f.trusted.Load() {
					settings.Trusted = loopback{}
				}
				if r := f.recipients.Load(); r != nil {
					settings.Recipients = *r
				}
				return settings
			},
			Now: time.Now,
			Log: slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		},
		NewID:    func() string { return "id" },
		Refuse:   f.refusal.Load,
		Sessions: f.sessions.Load,
	})
	if settings.Own == nil {
		settings.Own = []net.Addr{tcp("192.0.2.1:25")}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	f.Reload(settings)
	server := &httpd.Server{Name: "auth_http", Handler: f, Log: slog.New(slog.DiscardHandler)}
	server.Serve([]net.Listener{l}, 10)
	t.Cleanup(func() {
		f.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return f
}

func tcp(addr string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)) }

// request returns nginx's request for a client that has sent MAIL and RCPT, with
// changed header fields.
func request(changes ...string) string {
	lines := []string{"Host: localhost", "Auth-Method: none", "Auth-User: ", "Auth-Pass: ", "Auth-Protocol: smtp", "Auth-Login-Attempt: 1",
		"Client-IP: 198.51.100.9", "Client-Host: [UNAVAILABLE]", "Auth-SMTP-Helo: client.example",
		"Auth-SMTP-From: MAIL FROM:<a@example.org> SIZE=100", "Auth-SMTP-To: RCPT TO:<b@example.com>"}
	for _, c := range changes {
		name, value, _ := strings.Cut(c, ": ")
		for i := range lines {
			if strings.HasPrefix(lines[i], name+":") {
				lines[i] = name + ": " + value
			}
		}
	}
	return "GET /auth HTTP/1.0\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// ask sends a request and returns the header of the response. It checks that nginx
// can read the response.
func (f *fixture) ask(t testing.TB, request string) http.Header {
	t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 1024 {
		t.Errorf("the response has %d bytes, nginx reads 1,024: %s", len(text), text)
	}
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(text))), nil)
	if err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	if r.Header.Get("Date") != "" || r.Header.Get("Content-Type") != "" { // nginx does not need them
		t.Errorf("the header has Date or Content-Type: %v", r.Header)
	}
	return r.Header
}

// outcome returns the relevant fields of a response.
func outcome(h http.Header) string {
	if h.Get("Auth-Status") == "OK" {
		return "OK " + net.JoinHostPort(h.Get("Auth-Server"), h.Get("Auth-Port"))
	}
	return fmt.Sprintf("%s %s, wait %s", h.Get("Auth-Error-Code"), h.Get("Auth-Status"), h.Get("Auth-Wait"))
}

// TestOutcome: a refusal is that of the SMTP server.
func TestOutcome(t *testing.T) {
	f := start(t, authhttp.Settings{})
	for _, tt := range []struct{ change, want string }{
		{"", "OK 192.0.2.1:25"},
		{"Auth-SMTP-To: rcpt to: <POSTMASTER>", "OK 192.0.2.1:25"},
		{"Auth-SMTP-From: MAIL FROM:<>", "OK 192.0.2.1:25"},
		{"Auth-SMTP-Helo: ", "OK 192.0.2.1:25"},
		{"Client-Host: x[31m.example\" evil", "OK 192.0.2.1:25"},
		{"Client-IP: no address", "OK 192.0.2.1:25"},
		{"Auth-SMTP-To: RCPT TO:<b@elsewhere.example>", "550 5.7.1 Relaying denied: no such domain here, wait 1"},
		{"Auth-SMTP-To: RCPT TO:<b@@example.com>", "501 5.1.3 Recipient address has a bad domain, wait 1"},
		{"Auth-SMTP-To: RCPT TO:<b@example.com> FOO=bar", "555 5.5.4 Unknown parameter, wait 1"},
		{"Auth-SMTP-To: RCPT TO:<ü@example.com>", "553 5.6.7 Address needs SMTPUTF8, wait 1"},
		{"Auth-SMTP-To: ", "503 5.5.1 Send MAIL and RCPT, wait 1"},
		{"Auth-SMTP-From: ", "503 5.5.1 Send MAIL and RCPT, wait 1"},
		{"Auth-SMTP-To: DATA", "503 5.5.1 Send MAIL and RCPT, wait 1"},
		{"Auth-SMTP-From: MAIL FROM:<a@example.org> SIZE=100001", "552 5.3.4 Message too big, wait 1"},
		{"Auth-SMTP-From: XCLIENT ADDR=127.0.0.1", "503 5.5.1 Send MAIL and RCPT, wait 1"},
		{"Auth-Method: plain", "535 5.7.8 Authentication is not supported, wait 1"},
		{"Auth-Protocol: imap", "502 5.5.1 Only SMTP is supported, wait 1"},
	} {
		if got := outcome(f.ask(t, request(tt.change))); got != tt.want {
			t.Errorf("with %q, the response is\n     %s\nwant %s", tt.change, got, tt.want)
		}
	}
	if log := f.log.String(); strings.Contains(log, "evil") || !strings.Contains(log, "remote=198.51.100.9:0 helo=client.example from=a@example.org to=b@elsewhere.example") {
		t.Errorf("the log lacks the refusal, or has the client's host name:\n%s", log)
	}
	if log := f.log.String(); strings.Contains(log, `"C: `) || strings.Contains(log, `"S: `) {
		t.Errorf("the log has the dialogue of the internal session:\n%s", log)
	}
	// Without MAIL and RCPT there is nothing to check.
	if got := outcome(f.ask(t, "GET / HTTP/1.0\r\nAuth-Method: none\r\nAuth-Protocol: smtp\r\n\r\n")); got != "OK 192.0.2.1:25" {
		t.Errorf("without commands, the response is %q, want OK", got)
	}

	full := smtp.Reply{Code: 451, Enhanced: "4.3.2", Text: "Full"}
	f.refusal.Store(&full)
	if got := outcome(f.ask(t, request())); got != "451 4.3.2 Full, wait 1" {
		t.Errorf("while the daemon is full, the response is %q, want its refusal", got)
	}
	if got := outcome(f.ask(t, request("Auth-SMTP-To: RCPT TO:<b@elsewhere.example>"))); !strings.HasPrefix(got, "550 ") {
		t.Errorf("while the daemon is full, the response for a wrong recipient is %q, want 550", got)
	}
}

// TestRecipients: the recipient query applies.
func TestRecipients(t *testing.T) {
	f := start(t, authhttp.Settings{})
	f.recipients.Store(&dialogue.Recipients{"b@example.com", "known@example.com"})
	for _, tt := range []struct{ to, want string }{
		{"b@example.com", "OK 192.0.2.1:25"},
		{"known@example.com", "OK 192.0.2.1:25"},
		{"c@example.com", "550 5.1.1 Nobody, wait 1"},
		{"known-not@example.com", "550 5.1.1 Nobody, wait 1"},
		{"later@example.com", "451 4.3.0 Later, wait 1"},
		{"b@elsewhere.example", "550 5.7.1 Relaying denied: no such domain here, wait 1"},
	} {
		if got := outcome(f.ask(t, request("Auth-SMTP-To: RCPT TO:<"+tt.to+">"))); got != tt.want {
			t.Errorf("%s: the response is %q, want %q", tt.to, got, tt.want)
		}
	}
}

// TestHTTP: requests that do not come from nginx, kept connections, and invalid
// requests.
func TestHTTP(t *testing.T) {
	f := start(t, authhttp.Settings{})
	r, err := http.Get("http://" + f.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 || !strings.Contains(string(body), "nginx") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the response to a browser is %d %q, header %v, error %v", r.StatusCode, body, r.Header, err)
	}
	r, err = http.Post("http://"+f.addr+"/", "text/plain", strings.NewReader("x"))
	if err != nil || r.StatusCode != 405 || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the response to POST is %v, error %v, want 405", r, err)
	}
	// Two requests on one connection, with HTTP/1.1 and 1.0.
	for _, how := range []string{"HTTP/1.1\r\n", "HTTP/1.0\r\nConnection: keep-alive\r\n"} {
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		in := bufio.NewReader(conn)
		for range 2 {
			io.WriteString(conn, strings.Replace(request(), "HTTP/1.0\r\n", how, 1))
			r, err := http.ReadResponse(in, nil)
			if err != nil || outcome(r.Header) != "OK 192.0.2.1:25" {
				t.Errorf("%q: the response is %v, error %v", how, r, err)
				break
			}
		}
		conn.Close()
	}
	for _, request := range []string{
		"GET / HTTP/1.0\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"\x16\x03\x01\x00\x05hello\r\n\r\n",
		"EHLO x\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, request)
		text, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(text), "HTTP/1.1 4") {
			t.Errorf("%.20q: the response is %q, want a status of 4xx", request, text)
		}
		conn.Close()
	}
}

// FuzzRequest: nginx can read the response to any request.
func FuzzRequest(f *testing.F) {
	x := start(f, authhttp.Settings{})
	f.Add("client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "198.51.100.9")
	f.Add("", "MAIL FROM:<> SIZE=1", "RCPT TO:<@x:postmaster>", "::1")
	f.Add("\x80", "MAIL FROM:<a", "RCPT TO:<b@example.com> NOTIFY=NEVER", "[UNAVAILABLE]")
	f.Fuzz(func(t *testing.T, helo, from, to, ip string) {
		for _, s := range []string{helo, from, to, ip} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(s) > 4000 {
				return // nginx cannot send it in a header field
			}
		}
		h := x.ask(t, request("Auth-SMTP-Helo: "+helo, "Auth-SMTP-From: "+from, "Auth-SMTP-To: "+to, "Client-IP: "+ip))
		switch got := outcome(h); {
		case got == "OK 192.0.2.1:25":
		case strings.Trim(h.Get("Auth-Error-Code"), "0123456789. ") != "" || len(h.Get("Auth-Error-Code")) < 3:
			t.Errorf("%q and %q: the response is %q, want OK or a reply code", from, to, got)
		}
	})
}
