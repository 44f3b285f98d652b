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

// longRoundTrip is the round trip of distant clients.
const longRoundTrip = 100 * time.Millisecond

// timeout bounds each operation of a client.
const timeout = 30 * time.Second

// A peer is a connection to a server.
type peer struct {
	conn      net.Conn
	in        *bufio.Reader
	roundTrip time.Duration // additional delay of each reply
	closed    bool          // the server has closed the connection
}

func newPeer(conn net.Conn) *peer { return &peer{conn: conn, in: bufio.NewReaderSize(conn, 1024)} }

// command sends text, and reads a reply for each code.
func (p *peer) command(text []byte, codes ...int) error {
	if err := p.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if len(text) > 0 {
		if _, err := p.conn.Write(text); err != nil {
			return err
		}
	}
	time.Sleep(p.roundTrip)
	for _, code := range codes {
		if err := p.reply(code); err != nil {
			return err
		}
	}
	return nil
}

// reply reads one reply.
func (p *peer) reply(code int) error {
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
	if err := p.command(nil, 220); err != nil {
		return err
	}
	return p.command([]byte("EHLO client.example\r\n"), 250)
}

// startTLS sends STARTTLS, completes the handshake, and sends EHLO again.
func (p *peer) startTLS(config *tls.Config) error {
	if err := p.command([]byte("STARTTLS\r\n"), 220); err != nil {
		return err
	}
	conn := tls.Client(p.conn, config)
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	p.conn = conn
	p.in.Reset(conn)
	return p.command([]byte("EHLO client.example\r\n"), 250)
}

// handshake completes a TLS handshake and waits until the server closes the connection,
// since the server sends the session ticket after the handshake.
func (p *peer) handshake(config *tls.Config) error {
	if err := p.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	conn := tls.Client(p.conn, config)
	p.conn = conn
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("TLS: wait until the server closes: %w", err)
	}
	p.closed = true
	return nil
}

// resumed reports whether TLS resumed an earlier session.
func (p *peer) resumed() bool {
	conn, ok := p.conn.(*tls.Conn)
	return ok && conn.ConnectionState().DidResume
}

// quit sends QUIT unless the server has closed the connection.
func (p *peer) quit() error {
	if p.closed {
		return nil
	}
	return p.command([]byte("QUIT\r\n"), 221)
}
