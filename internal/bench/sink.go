package main

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/emersion/go-smtp"
)

// sinkArgument before an address makes the program a go-smtp server that
// reads mail and forgets it: in a process of its own, so that its CPU can be
// told from the benchmark's.
const sinkArgument = "-go-smtp-sink"

// serveSink serves on addr until the process is ended.
func serveSink(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return newSink().Serve(l)
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
