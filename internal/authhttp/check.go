package authhttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// Time limits of a check.
const (
	checkTime = 2 * time.Second        // for the connection and the greeting
	countTime = 500 * time.Millisecond // for the number of sessions, after the greeting
)

// maxCheck is the maximum size of a backend's replies in one check, in bytes.
const maxCheck = 16 << 10

// check is a health check of one backend.
type check struct {
	addr  netip.AddrPort
	proxy bool   // the backend requires a PROXY header
	host  string // this daemon's host name, for EHLO
}

// run connects to the backend and expects the greeting 220. It returns the number
// of the backend's sessions, or -1 if the backend does not report it. Only
// goguerrillad reports it, and only to a trusted peer.
func (c check) run(ctx context.Context) (sessions int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr.String())
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return -1, err
	}
	if c.proxy {
		if _, err := io.WriteString(conn, smtp.LocalProxyHeader); err != nil {
			return -1, fmt.Errorf("send a PROXY header: %w", err)
		}
	}
	text := textproto.NewReader(bufio.NewReader(io.LimitReader(conn, maxCheck)))
	if _, _, err := text.ReadResponse(220); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("closed without a greeting")
		}
		return -1, fmt.Errorf("greeting: %w", err)
	}
	return c.count(conn, text), nil
}

// count sends EHLO and returns the number of sessions that the backend reports,
// or -1. An error of EHLO does not make the backend unhealthy.
func (c check) count(conn net.Conn, text *textproto.Reader) int64 {
	if err := conn.SetDeadline(time.Now().Add(countTime)); err != nil {
		return -1
	}
	if _, err := fmt.Fprintf(conn, "EHLO %s\r\n", c.host); err != nil {
		return -1
	}
	_, reply, err := text.ReadResponse(250)
	if err != nil {
		return -1
	}
	sessions := int64(-1)
	for line := range strings.Lines(reply) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), session.SessionsKeyword+" ")
		if n, err := strconv.ParseInt(value, 10, 64); ok && err == nil && n >= 0 {
			sessions = n
		}
	}
	if _, err := io.WriteString(conn, "QUIT\r\n"); err == nil {
		_, _, _ = text.ReadResponse(221) // so that the backend closes the connection first
	}
	return sessions
}
