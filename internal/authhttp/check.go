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

// What a server has for its greeting, the connection included, and then for
// the number of its sessions.
const (
	checkTime = 2 * time.Second
	countTime = 500 * time.Millisecond
)

// maxCheck bounds what is read of a server, in bytes.
const maxCheck = 16 << 10

// check looks whether a server takes mail.
type check struct {
	addr  netip.AddrPort
	proxy bool   // it wants a PROXY header
	host  string // our name
}

// run connects, wants to be greeted by 220, and returns how many sessions the
// server says it has, or -1. Only our kind says that, and only to those whom
// it trusts.
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

// count asks for the number of sessions. Whatever goes wrong, the server has
// greeted us.
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
		_, _, _ = text.ReadResponse(221) // so that it is the server that closes
	}
	return sessions
}
