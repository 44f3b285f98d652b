package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// The arguments that before an address make the program a server that reads
// mail and forgets it: in a process of its own, so that its CPU can be told
// from the benchmark's.
const (
	smtpSink    = "-go-smtp-sink"
	webhookSink = "-webhook-sink"
)

// sink returns what serves until the process is ended, nil when the arguments
// ask for none.
func sink(args []string) (serve func() error) {
	if len(args) != 3 {
		return nil
	}
	addr := args[2]
	switch args[1] {
	case smtpSink:
		return func() error {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return fmt.Errorf("listen: %w", err)
			}
			return newSink().Serve(l)
		}
	case webhookSink:
		server := http.Server{Addr: addr, Handler: newReceiver(), ReadHeaderTimeout: time.Minute}
		return server.ListenAndServe
	}
	return nil
}

// newReceiver returns a receiver of webhooks: it reads each POST to its end,
// and tells a GET how many there were.
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
		posts.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})
}

// newSink returns a server with the limits that one on the Internet has, as
// goguerrillad has them by default.
func newSink() *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return sinkSession{}, nil
	}))
	s.Domain = "localhost"
	s.ReadTimeout = 100 * time.Second
	s.WriteTimeout = 100 * time.Second
	s.MaxMessageBytes = 131072
	s.MaxRecipients = 100
	return s
}

// A sinkSession accepts everything.
type sinkSession struct{}

func (sinkSession) Reset()                               {}
func (sinkSession) Logout() error                        { return nil }
func (sinkSession) Mail(string, *smtp.MailOptions) error { return nil }
func (sinkSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (sinkSession) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
