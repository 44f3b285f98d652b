package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// Each of these arguments, before an address, a certificate and a key, makes the program a
// server that discards its input. The server has its own process, so that its CPU time can
// be measured.
const (
	smtpSink    = "-go-smtp-sink"
	webhookSink = "-webhook-sink"
	tlsSink     = "-tls-sink"
)

// role returns the function that runs the program as a client or a server, nil if the
// arguments select neither.
func role(args []string) func() error {
	if len(args) == 3 && args[1] == clientArgument {
		return func() error { return serveClient(args[2], os.Stdin, os.Stdout) }
	}
	if len(args) != 5 {
		return nil
	}
	addr := args[2]
	config := func() (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(args[3], args[4])
		return &tls.Config{Certificates: []tls.Certificate{pair}}, err
	}
	switch args[1] {
	case smtpSink:
		return func() error {
			s := newSink()
			l, err := net.Listen("tcp", addr)
			if err == nil {
				s.TLSConfig, err = config()
			}
			if err != nil {
				return err
			}
			return s.Serve(l)
		}
	case tlsSink:
		return func() error {
			c, err := config()
			if err != nil {
				return err
			}
			l, err := tls.Listen("tcp", addr, c)
			if err != nil {
				return err
			}
			return serveHandshakes(l)
		}
	case webhookSink:
		server := http.Server{Addr: addr, Handler: newReceiver(), ReadHeaderTimeout: time.Minute}
		return server.ListenAndServe
	}
	return nil
}

// serveHandshakes completes the TLS handshake of each client and closes the connection.
func serveHandshakes(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			// If the handshake fails, the client reports it.
			_ = conn.(*tls.Conn).Handshake()
		}()
	}
}

// newReceiver returns a receiver of webhooks. It reads each POST to its end, and replies to
// a GET with the number of POSTs. The daemon checks an idle receiver with a HEAD, which does
// not count.
func newReceiver() http.Handler {
	var posts atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, posts.Load())
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if r.Method == http.MethodPost {
			posts.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// newSink returns a server with limits like the defaults of goguerrillad.
func newSink() *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return sinkSession{}, nil
	}))
	s.Domain = "localhost"
	s.ReadTimeout = 100 * time.Second
	s.WriteTimeout = 100 * time.Second
	s.MaxMessageBytes = maxMessage
	s.MaxRecipients = 100
	return s
}

// A sinkSession accepts every recipient that is not in refusedDomain.
type sinkSession struct{}

func (sinkSession) Reset()                               {}
func (sinkSession) Logout() error                        { return nil }
func (sinkSession) Mail(string, *smtp.MailOptions) error { return nil }
func (sinkSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasSuffix(to, "@"+refusedDomain) {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Not here"}
	}
	return nil
}
func (sinkSession) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
