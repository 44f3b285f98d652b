package webhook_test

import (
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

// receive starts a receiver with HTTPS, and a store that trusts its certificate.
func receive(t *testing.T, handle http.HandlerFunc) (*webhook.Store, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(handle)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return open(t, server.URL+"/mail", server.Certificate()), server
}

// open returns a store that trusts this certificate, which may be nil.
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

// save saves a message and returns its outcome.
func save(t *testing.T, s *webhook.Store, e *envelope.Envelope, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return s.Save(ctx, []*envelope.Envelope{e})[0]
}

// A post is a received POST.
type post struct {
	header   http.Header
	body     []byte
	envelope map[string]any
	message  string
}

// read parses a POST as a receiver does and checks its signature.
func read(r *http.Request) (p post, err error) {
	p.header = r.Header
	if p.body, err = io.ReadAll(r.Body); err != nil {
		return p, err
	}
	h := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(h, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), p.body)
	if got, want := r.Header.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
		return p, fmt.Errorf("the signature is %q, want %q", got, want)
	}
	if r.ContentLength != int64(len(p.body)) { // some receivers read no body without it
		return p, fmt.Errorf("the content length is %d, want %d", r.ContentLength, len(p.body))
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return p, fmt.Errorf("the content type is %q, want multipart/form-data (error %v)", kind, err)
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
	message, err := io.ReadAll(file)
	p.message = string(message)
	return p, err
}

// TestPost: the receiver gets the message, all fields of the envelope and the
// header fields.
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
	e.TLS, e.Login, e.Proxy = "TLS1.3 TLS_AES_128_GCM_SHA256", "user", "192.0.2.99"
	e.Info.MessageID, e.Info.ReplyTo, e.Info.Sender = "1@example.org", "c@example.org", "d@example.org"
	e.Info.Attachments = []mailinfo.Attachment{{Name: "ü.pdf", Type: "application/pdf", Size: 3}}
	if err := save(t, s, e, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	p := <-posts
	if want := string(e.Blob(0)); p.message != want {
		t.Errorf("the message is %q, want %q", p.message, want)
	}
	for name, want := range map[string]any{
		"hash": e.To[0].Hash, "from": "a@example.org", "recipients": []any{"b@example.com", "\"odd \\\" one\"@example.com"}, "remote": "192.0.2.7",
		"helo": "client.example.org", "tls": e.TLS, "date": e.Date.UTC().Format(time.RFC3339), "size": float64(e.Size()), "subject": "grüße",
		"login": "user", "proxy": "192.0.2.99", "message_id": "1@example.org", "reply_to": "c@example.org", "sender": "d@example.org",
		"attachments": []any{map[string]any{"name": "ü.pdf", "type": "application/pdf", "size": 3.0}},
	} {
		if got := fmt.Sprint(p.envelope[name]); got != fmt.Sprint(want) {
			t.Errorf("%s is %s, want %v", name, got, want)
		}
	}
	if len(p.envelope) != 15 {
		t.Errorf("the envelope has %d fields, want 15: %v", len(p.envelope), p.envelope)
	}
	for name, want := range map[string]string{"webhook-id": e.To[0].Hash, "User-Agent": "goguerrillad/1"} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if at, err := time.Parse(time.RFC3339, p.envelope["date"].(string)); err != nil || time.Since(at) > time.Minute {
		t.Errorf("date is %v, want the current time", p.envelope["date"])
	}
}

// TestResponses: each status, and a missing response, has the expected outcome.
func TestResponses(t *testing.T) {
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
		want   error
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
		{"slow body after 200", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
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
			if !errors.Is(err, tt.want) || errors.Is(err, savemail.ErrUnknown) != (tt.want == savemail.ErrUnknown) {
				t.Errorf("outcome %v, want %v", err, tt.want)
			}
			if elsewhere.Load() {
				t.Error("the store followed the redirect")
			}
			if tt.want != savemail.ErrRefused {
				return
			}
			var reply smtp.Reply
			if !errors.As(err, &reply) {
				t.Fatalf("outcome %v has no reply", err)
			}
			if reply.Code != 550 || reply.Enhanced != "5.7.1" {
				t.Errorf("the reply is %v, want 550 5.7.1", reply)
			}
		})
	}
}

// TestCheck: a receiver is available if it sends any response. Check posts no message.
func TestCheck(t *testing.T) {
	for _, code := range []int{http.StatusOK, http.StatusMethodNotAllowed, http.StatusServiceUnavailable} {
		s, _ := receive(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodHead || r.URL.Path != "/mail" || r.ContentLength > 0 || r.Header.Get("User-Agent") != "goguerrillad/1" {
				t.Errorf("the request is %s %s with %d bytes and %v, want a HEAD /mail without a body", r.Method, r.URL, r.ContentLength, r.Header)
			}
			w.WriteHeader(code)
		})
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("status %d: Check returns %v, want nil", code, err)
		}
	}
}

// TestStore runs the suite of stores. Without Rows, the suite checks only outcomes.
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
