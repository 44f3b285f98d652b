// Package client is a simple SMTP client for tests.
package client

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// A Client sends one command and reads one reply at a time. To send other bytes, a test
// writes to Conn.
type Client struct {
	Conn     net.Conn
	Greeting Reply
	text     *textproto.Conn
}

// A Reply is a reply of the server; "\n" separates the lines of Text.
type Reply struct {
	Code int
	Text string
}

func (r Reply) String() string { return fmt.Sprintf("%d %s", r.Code, r.Text) }

// Hash returns the hash of an accepted message's first row, or "".
func (r Reply) Hash() string {
	_, hash, _ := strings.Cut(r.Text, "queued as ")
	return hash
}

// Connect connects and reads the greeting, which may have any code. timeout bounds each
// read and each write.
func Connect(addr string, timeout time.Duration) (*Client, error) {
	conn, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return New(conn, timeout)
}

// ConnectTLS is Connect with TLS from the first byte.
func ConnectTLS(addr string, config *tls.Config, timeout time.Duration) (*Client, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", addr, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return New(conn, timeout)
}

// New is Connect on an existing connection.
func New(conn net.Conn, timeout time.Duration) (_ *Client, err error) {
	c := &Client{Conn: timed{conn, timeout}}
	c.text = textproto.NewConn(c.Conn)
	if c.Greeting, err = c.Reply(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("read the greeting: %w", err)
	}
	return c, nil
}

// timed sets a deadline for each read and each write.
type timed struct {
	net.Conn
	timeout time.Duration
}

func (c timed) Read(b []byte) (int, error) {
	c.SetReadDeadline(time.Now().Add(c.timeout))
	return c.Conn.Read(b)
}

func (c timed) Write(b []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(c.timeout))
	return c.Conn.Write(b)
}

// Close closes the connection without QUIT.
func (c *Client) Close() error { return c.Conn.Close() }

// Reply reads one reply.
func (c *Client) Reply() (Reply, error) {
	code, text, err := c.text.ReadResponse(0)
	return Reply{code, text}, err
}

// Cmd sends a command line and reads the reply.
func (c *Client) Cmd(format string, args ...any) (Reply, error) {
	if _, err := fmt.Fprintf(c.Conn, format+"\r\n", args...); err != nil {
		return Reply{}, err
	}
	return c.Reply()
}

// Expect is Cmd, but returns an error if the reply has another code.
func (c *Client) Expect(code int, format string, args ...any) (Reply, error) {
	r, err := c.Cmd(format, args...)
	if err == nil && r.Code != code {
		err = fmt.Errorf("%s: want %d, got %v", fmt.Sprintf(format, args...), code, r)
	}
	return r, err
}

// StartTLS sends STARTTLS and completes the handshake.
func (c *Client) StartTLS(config *tls.Config) error {
	if _, err := c.Expect(220, "STARTTLS"); err != nil {
		return err
	}
	conn := tls.Client(c.Conn, config)
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.Conn, c.text = conn, textproto.NewConn(conn)
	return nil
}

// Hello sends EHLO.
func (c *Client) Hello() error {
	_, err := c.Expect(250, "EHLO client.test")
	return err
}

// Send sends one transaction after Hello. params are parameters of MAIL, and the lines
// of text end in CR LF. It returns the reply to the text, or the first refusal.
func (c *Client) Send(from, params string, to []string, text []byte) (Reply, error) {
	if r, err := c.Cmd("%s", strings.TrimSpace("MAIL FROM:<"+from+"> "+params)); err != nil || r.Code != 250 {
		return r, err
	}
	for _, rcpt := range to {
		if r, err := c.Cmd("RCPT TO:<%s>", rcpt); err != nil || r.Code != 250 {
			return r, err
		}
	}
	if r, err := c.Cmd("DATA"); err != nil || r.Code != 354 {
		return r, err
	}
	if _, err := c.Conn.Write(Stuff(text)); err != nil {
		return Reply{}, err
	}
	return c.Reply()
}

// Stuff returns text with dot-stuffing and the final dot, as DATA transmits it.
func Stuff(text []byte) []byte {
	s := "\r\n" + string(text)
	s = strings.ReplaceAll(s, "\r\n.", "\r\n..")[2:]
	if s != "" && !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return []byte(s + ".\r\n")
}
