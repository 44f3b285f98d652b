package senders_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/senders"
)

// TestSenders checks that each sender delivers a message unchanged to a server of
// another project, without and with TLS.
func TestSenders(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real mail servers")
	}
	cert := test.NewCertificate(t, test.PublicDir(t), "sink")
	sink := startSink(t, cert)
	routes := []senders.Route{
		{Domain: "clear.example", Addr: sink.addr},
		{Domain: "tls.example", Addr: sink.addr, CA: cert.CertFile},
	}
	for name, start := range senders.All() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := start(t, routes)
			for _, r := range routes {
				for _, utf8 := range []bool{false, true} {
					if utf8 && !sender.UTF8 {
						continue
					}
					m := senders.Message{From: "me@" + name + ".example", To: name + "@" + r.Domain, UTF8: utf8}
					if utf8 {
						m.From, m.To = "mü@"+name+".example", name+"-ö@"+r.Domain
					}
					m.Text = []byte("Subject: " + name + "\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example>\r\n" +
						"From: <" + m.From + ">\r\nTo: <" + m.To + ">\r\n\r\n..two\r\n.\r\n\xfcber \r\n\r\n")
					sender.Send(t, m)
					got := sink.await(t, sender, m.To)
					if got.from != m.From || got.tls != (r.CA != "") {
						t.Errorf("%s: from %q, TLS %v, want %q, %v", m.To, got.from, got.tls, m.From, r.CA != "")
					}
					if !bytes.HasSuffix(got.text, m.Text) {
						t.Errorf("%s: received\n%q\nwant\n%q", m.To, got.text, m.Text)
					}
				}
			}
		})
	}
}

// A sink is an SMTP server that keeps the messages that it receives, by recipient.
type sink struct {
	addr string
	mu   sync.Mutex
	got  map[string]received
}

type received struct {
	from string
	tls  bool
	text []byte
}

func startSink(t *testing.T, cert *test.Certificate) *sink {
	pair, err := tls.LoadX509KeyPair(cert.CertFile, cert.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{addr: l.Addr().String(), got: make(map[string]received)}
	server := smtp.NewServer(s)
	server.Domain = "localhost"
	server.EnableSMTPUTF8 = true
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return s
}

// await waits until the sink has received a message for to.
func (s *sink) await(t *testing.T, sender *senders.Sender, to string) (r received) {
	t.Helper()
	test.Await(t, nil, 20*time.Second, "wait for the message for "+to, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		var ok bool
		if r, ok = s.got[to]; ok {
			return nil
		}
		if sender.Log != nil {
			return fmt.Errorf("not received\n%s", sender.Log())
		}
		return fmt.Errorf("not received")
	})
	return r
}

func (s *sink) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &sinkSession{sink: s, conn: c}, nil
}

type sinkSession struct {
	sink *sink
	conn *smtp.Conn
	from string
	to   []string
}

func (s *sinkSession) Mail(from string, _ *smtp.MailOptions) error { s.from = from; return nil }
func (s *sinkSession) Rcpt(to string, _ *smtp.RcptOptions) error   { s.to = append(s.to, to); return nil }
func (s *sinkSession) Reset()                                      { s.from, s.to = "", nil }
func (s *sinkSession) Logout() error                               { return nil }

func (s *sinkSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, secure := s.conn.TLSConnectionState()
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	for _, to := range s.to {
		s.sink.got[strings.ToLower(to)] = received{s.from, secure, text}
	}
	return nil
}
