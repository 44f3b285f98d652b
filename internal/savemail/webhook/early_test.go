package webhook_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/webhook"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// setMapped puts the message into a memory mapping, as the daemon does. A read
// after unmap causes SIGSEGV.
func setMapped(t *testing.T, e *envelope.Envelope, message []byte) (unmap func()) {
	t.Helper()
	room := e.HeadRoom()
	buf, err := unix.Mmap(-1, 0, room+len(message), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	copy(buf[room:], message)
	e.SetMessage(buf, room)
	return func() {
		if err := unix.Munmap(buf); err != nil {
			t.Fatal(err)
		}
	}
}

// startServer starts a receiver with TLS.
func startServer(t *testing.T, http2 bool, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handle)
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// reset resets the connection and sends no response.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if c, ok := conn.(*tls.Conn); ok {
		_ = c.NetConn().(*net.TCPConn).SetLinger(0)
		_ = c.NetConn().Close()
	}
}

// TestEarlyResponse: if the receiver responds before it has read the POST, the buffer
// of the message is not read after Save has returned.
func TestEarlyResponse(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	goAway := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close") // GOAWAY in HTTP/2
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	cert := test.NewCertificate(t, test.PublicDir(t), "localhost")
	plain, secure := test.FreePort(t), test.FreePort(t)
	servers.Nginx(t, fmt.Sprintf(`http {
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	access_log off; client_max_body_size 1m;
	server { listen 127.0.0.1:%d; location / { return 200; } }
	server { listen 127.0.0.1:%d ssl http2; ssl_certificate %s; ssl_certificate_key %s; location / { return 200; } }
}`, plain, secure, cert.CertFile, cert.KeyFile), fmt.Sprintf("127.0.0.1:%d", plain))
	message := append([]byte("Subject: x\r\n\r\n"), bytes.Repeat([]byte("0123456789abcdef0123456789abcd\r\n"), 7<<20/32)...)
	for _, tt := range []struct {
		name     string
		http2    bool
		handle   http.HandlerFunc // nil for nginx at url
		url      string
		mayBeNil bool // the outcome
	}{
		{"nginx 413, HTTP/1.1", false, nil, fmt.Sprintf("http://127.0.0.1:%d/", plain), false},
		{"nginx 413, HTTP/2", true, nil, fmt.Sprintf("https://127.0.0.1:%d/", secure), false},
		{"200, HTTP/1.1", false, status(200), "", true},
		{"200, HTTP/2", true, status(200), "", true},
		{"401, HTTP/1.1", false, status(401), "", false},
		{"401, HTTP/2", true, status(401), "", false},
		{"413, HTTP/2", true, status(413), "", false},
		{"connection reset", false, reset, "", false},
		{"GOAWAY", true, goAway, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.handle != nil {
				tt.url = startServer(t, tt.http2, tt.handle).URL
			}
			s := webhook.New(webhook.Options{URL: tt.url, TLS: &tls.Config{InsecureSkipVerify: true}})
			defer s.Close()
			for range 250 {
				e := storetest.Envelope("Subject: x\r\n\r\n", "a@example.com")
				unmap := setMapped(t, e, message)
				err := save(t, s, e, 10*time.Second)
				unmap()
				if err == nil && !tt.mayBeNil || err != nil && !errors.Is(err, savemail.ErrUnavailable) && !errors.Is(err, savemail.ErrUnknown) {
					t.Fatalf("outcome %v, want %v or %v (nil allowed: %v)", err, savemail.ErrUnavailable, savemail.ErrUnknown, tt.mayBeNil)
				}
			}
		})
	}
}
