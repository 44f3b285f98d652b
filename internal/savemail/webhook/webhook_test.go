package webhook_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/webhook"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/test/storetest"
)

const key = "0123456789abcdef0123456789abcdef"

// receive starts a receiver by HTTPS, and a store that trusts it.
func receive(t *testing.T, handle http.HandlerFunc) (*webhook.Store, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(handle)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return open(t, server.URL+"/mail", server.Certificate()), server
}

func open(t *testing.T, url string, trusted *x509.Certificate) *webhook.Store {
	t.Helper()
	roots := x509.NewCertPool()
	if trusted != nil {
		roots.AddCert(trusted)
	}
	s := webhook.New(webhook.Options{URL: url, Key: []byte(key), Version: "1", TLS: &tls.Config{RootCAs: roots}})
	t.Cleanup(func() { s.Close() })
	return s
}

func save(t *testing.T, s *webhook.Store, e *envelope.Envelope, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return s.Save(ctx, []*envelope.Envelope{e})[0]
}

// A post is what a receiver has got.
type post struct {
	header   http.Header
	body     []byte
	envelope map[string]any
	mail     string
}

// read takes a POST apart as any receiver would, and checks its signature.
func read(r *http.Request) (p post, err error) {
	p.header = r.Header
	if p.body, err = io.ReadAll(r.Body); err != nil {
		return p, err
	}
	h := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(h, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), p.body)
	if got, want := r.Header.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
		return p, fmt.Errorf("signature %q, want %q", got, want)
	}
	if r.ContentLength != int64(len(p.body)) { // not every receiver reads a body without it
		return p, fmt.Errorf("content length %d, want %d", r.ContentLength, len(p.body))
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return p, fmt.Errorf("content type %q, %w", kind, err)
	}
	form, err := multipart.NewReader(strings.NewReader(string(p.body)), params["boundary"]).ReadForm(1 << 30)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal([]byte(form.Value["envelope"][0]), &p.envelope); err != nil {
		return p, err
	}
	file, err := form.File["mail"][0].Open()
	if err != nil {
		return p, err
	}
	mail, err := io.ReadAll(file)
	p.mail = string(mail)
	return p, err
}

// TestPost: what a receiver gets.
func TestPost(t *testing.T) {
	posts := make(chan post, 1)
	s, _ := receive(t, func(w http.ResponseWriter, r *http.Request) {
		p, err := read(r)
		if err != nil {
			t.Error(err)
		}
		posts <- p
		w.WriteHeader(http.StatusNoContent)
	})
	e := storetest.Envelope("Subject: =?utf-8?Q?gr=C3=BC=C3=9Fe?=\r\n\r\n\x00\xff--boundary\r\n.\r\n", "b@example.com", "\"odd \\\" one\"@example.com")
	e.TLS = "TLS1.3 TLS_AES_128_GCM_SHA256"
	e.Info.Attachments = []mailinfo.Attachment{{Name: "ü.pdf", Type: "application/pdf", Size: 3}}
	if err := save(t, s, e, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	p := <-posts
	if p.mail != string(e.Blob(0)) {
		t.Errorf("mail %q", p.mail)
	}
	for name, want := range map[string]any{
		"hash": e.To[0].Hash, "from": "a@example.org", "recipients": []any{"b@example.com", "\"odd \\\" one\"@example.com"}, "remote": "192.0.2.7",
		"helo": "client.example.org", "tls": e.TLS, "date": e.Date.UTC().Format(time.RFC3339), "size": float64(e.Size()), "subject": "grüße",
		"attachments": []any{map[string]any{"name": "ü.pdf", "type": "application/pdf", "size": 3.0}},
	} {
		if got := fmt.Sprint(p.envelope[name]); got != fmt.Sprint(want) {
			t.Errorf("%s is %s, want %v", name, got, want)
		}
	}
	if len(p.envelope) != 10 || p.header.Get("webhook-id") != e.To[0].Hash || p.header.Get("User-Agent") != "goguerrillad/1" {
		t.Errorf("%v, %v", p.envelope, p.header)
	}
	if at, err := time.Parse(time.RFC3339, p.envelope["date"].(string)); err != nil || time.Since(at) > time.Minute {
		t.Errorf("date: %v", err)
	}
}

// TestAnswers: what an answer, or none, is for the sender.
func TestAnswers(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
		}
	}
	for _, tt := range []struct {
		name   string
		handle http.HandlerFunc
		kind   error
	}{
		{"200", status(200), nil},
		{"201", status(201), nil},
		{"204", status(204), nil},
		{"422", status(422), savemail.ErrRefused},
		{"400", status(400), savemail.ErrUnavailable},
		{"404", status(404), savemail.ErrUnavailable},
		{"429", status(429), savemail.ErrUnavailable},
		{"500", status(500), savemail.ErrUnavailable},
		{"301", status(301), savemail.ErrUnavailable},
		{"307", status(307), savemail.ErrUnavailable},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, savemail.ErrUnknown},
		{"slowly for ever behind 200", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond) // the attack
			}
		}, nil},
		{"closes", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, savemail.ErrUnknown},
		{"large header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, savemail.ErrUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			elsewhere := atomic.Bool{}
			s, _ := receive(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/mail" {
					elsewhere.Store(true)
				}
				tt.handle(w, r)
			})
			err := save(t, s, storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 2*time.Second)
			if !errors.Is(err, tt.kind) || errors.Is(err, savemail.ErrUnknown) != (tt.kind == savemail.ErrUnknown) {
				t.Errorf("outcome %v, want %v", err, tt.kind)
			}
			if elsewhere.Load() {
				t.Error("the mail was posted elsewhere")
			}
			var reply smtp.Reply
			if tt.kind == savemail.ErrRefused && (!errors.As(err, &reply) || reply.Code != 550 || reply.Enhanced != "5.7.1") {
				t.Errorf("reply %v", reply)
			}
		})
	}
}

// TestTrouble: no outcome contains a secret of the URL, which the log would show.
func TestTrouble(t *testing.T) {
	_, other := receive(t, func(http.ResponseWriter, *http.Request) {})
	garbage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer garbage.Close()
	go func() {
		for {
			c, err := garbage.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(c).ReadString('\n')
			c.Write([]byte("garbage\r\n\r\n"))
			c.Close()
		}
	}()
	const secret = "/T0ken?key=T0ken"
	for _, tt := range []struct {
		name, url string
		kind      error
	}{
		{"unknown certificate", other.URL + secret, savemail.ErrUnavailable},
		{"garbage", "http://user:T0ken@" + garbage.Addr().String() + secret, savemail.ErrUnknown},
		{"no listener", "http://user:T0ken@127.0.0.1:1" + secret, savemail.ErrUnavailable},
		{"malformed URL", "http://user:T0ken@127.0.0.1/%" + secret, savemail.ErrUnavailable},
	} {
		s := open(t, tt.url, nil)
		err := save(t, s, storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 2*time.Second)
		if !errors.Is(err, tt.kind) || errors.Is(err, savemail.ErrUnknown) != (tt.kind == savemail.ErrUnknown) || strings.Contains(err.Error(), "T0ken") {
			t.Errorf("%s: outcome %v, want %v", tt.name, err, tt.kind)
		}
		if err := s.Check(t.Context()); !errors.Is(err, savemail.ErrUnavailable) || strings.Contains(err.Error(), "T0ken") {
			t.Errorf("%s: Check returns %v", tt.name, err)
		}
	}
}

// TestLongAnswer: a receiver does not fill the log with its words.
func TestLongAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 503 %s\r\nContent-Length: 0\r\n\r\n", strings.Repeat("no ", 4000))
		c.Close()
	}))
	defer server.Close()
	err := save(t, open(t, server.URL, nil), storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 5*time.Second)
	if !errors.Is(err, savemail.ErrUnavailable) || !strings.Contains(err.Error(), "503 no no") || len(err.Error()) > 300 {
		t.Errorf("%d bytes: %.400v", len(err.Error()), err)
	}
}

// TestCheck: a receiver that answers is healthy, whatever its answer is, and
// gets no message.
func TestCheck(t *testing.T) {
	for _, code := range []int{http.StatusOK, http.StatusMethodNotAllowed, http.StatusServiceUnavailable} {
		s, _ := receive(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodHead || r.URL.Path != "/mail" || r.ContentLength > 0 || r.Header.Get("User-Agent") != "goguerrillad/1" {
				t.Errorf("%s %s, %d bytes, %v", r.Method, r.URL, r.ContentLength, r.Header)
			}
			w.WriteHeader(code)
		})
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("status %d: %v", code, err)
		}
	}
}

// TestStore runs the suite of stores, of which only outcomes are looked at.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		s, _ := receive(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				if _, err := read(r); err != nil {
					t.Error(err)
				}
			}
		})
		return storetest.Harness{Store: s}
	})
}
