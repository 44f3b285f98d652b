package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// farAway is the round trip of those who are far away.
const farAway = 100 * time.Millisecond

// patience is how long a client waits for one thing.
const patience = 30 * time.Second

// A peer is a server, as a client sees it.
type peer struct {
	conn net.Conn
	in   *bufio.Reader
	far  time.Duration // how long each of its answers takes beside
	over bool          // it has closed
}

func newPeer(conn net.Conn) *peer { return &peer{conn: conn, in: bufio.NewReaderSize(conn, 1024)} }

// say sends, and reads a reply for each code.
func (p *peer) say(text []byte, codes ...int) error {
	if err := p.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if len(text) > 0 {
		if _, err := p.conn.Write(text); err != nil {
			return err
		}
	}
	time.Sleep(p.far)
	for _, code := range codes {
		if err := p.hear(code); err != nil {
			return err
		}
	}
	return nil
}

// hear reads one reply.
func (p *peer) hear(code int) error {
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("want %d: %w", code, err)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if want := fmt.Appendf(nil, "%d", code); len(line) < 4 || string(line[:3]) != string(want) {
			return fmt.Errorf("got %q, want %d", line, code)
		}
		return nil
	}
}

func (p *peer) hello() error {
	if err := p.say(nil, 220); err != nil {
		return err
	}
	return p.say([]byte("EHLO client.example\r\n"), 250)
}

// startTLS shakes hands behind STARTTLS, and says EHLO again.
func (p *peer) startTLS(config *tls.Config) error {
	if err := p.say([]byte("STARTTLS\r\n"), 220); err != nil {
		return err
	}
	conn := tls.Client(p.conn, config)
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	p.conn = conn
	p.in.Reset(conn)
	return p.say([]byte("EHLO client.example\r\n"), 250)
}

// shake shakes hands at once, and waits until the server closes: before that
// comes what the session can be resumed with.
func (p *peer) shake(config *tls.Config) error {
	if err := p.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	conn := tls.Client(p.conn, config)
	p.conn = conn
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("TLS: the server does not close: %w", err)
	}
	p.over = true
	return nil
}

// resumed reports whether TLS went on with a session of before.
func (p *peer) resumed() bool {
	conn, ok := p.conn.(*tls.Conn)
	return ok && conn.ConnectionState().DidResume
}

// quit says so, unless the server has closed already.
func (p *peer) quit() error {
	if p.over {
		return nil
	}
	return p.say([]byte("QUIT\r\n"), 221)
}
