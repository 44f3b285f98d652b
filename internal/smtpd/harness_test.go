package smtpd_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/dialogue"
)

// testTimeout is the maximum time that a test waits for an event.
const testTimeout = 20 * time.Second

// A fixture is a running server with the messages that it saved.
type fixture struct {
	t        testing.TB
	server   *smtpd.Server
	addr     string // TCP
	unix     string // path
	settings atomic.Pointer[session.Settings]
	log      test.Log
	panics   uint64 // expected number

	mu     sync.Mutex
	stored []dialogue.Message
}

// setup contains the settings that a test may change before the server starts.
type setup struct {
	fixture  *fixture // of the server, for use in save
	settings session.Settings
	limits   smtpd.Settings
	loops    int
	// sendBuffer is SO_SNDBUF of the server's TCP connections in bytes; 0 is the
	// kernel's default.
	sendBuffer int
	// save is Options.Save; nil is a Save that keeps the message and succeeds.
	save func(e *envelope.Envelope, done func(error))
}

func start(t testing.TB, change func(*setup)) *fixture {
	t.Helper()
	usual, err := dialogue.Parse("usual", "")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t}
	s := setup{
		fixture:  f,
		settings: *usual.Settings.Session(),
		limits:   smtpd.Settings{MaxClients: 1000, Memory: 64 << 20, TLS: serverTLS()},
		loops:    2,
	}
	if change != nil {
		change(&s)
	}
	if s.save == nil {
		s.save = f.keep
	}
	f.settings.Store(&s.settings)
	var hashes envelope.HashSource
	f.server, err = smtpd.New(smtpd.Options{
		Loops: s.loops,
		Environment: &session.Environment{
			Settings: f.settings.Load,
			Now:      time.Now,
			NewHash:  hashes.New,
			Log:      slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		},
		Save:     s.save,
		Settings: s.limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.unix = filepath.Join(t.TempDir(), "s")
	f.addr = f.listen(f.unix, s.sendBuffer)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		f.server.Shutdown(ctx)
		if n := f.server.Stats().Panics; n != f.panics {
			t.Errorf("%d panics, want %d; log:\n%s", n, f.panics, f.log.String())
		}
	})
	return f
}

// listen starts the server on a TCP and a unix socket.
func (f *fixture) listen(path string, sendBuffer int) (addr string) {
	f.t.Helper()
	sockets, err := listen.Bind([]string{"127.0.0.1:0"})
	if err != nil {
		f.t.Fatal(err)
	}
	tcp := sockets[0]
	f.t.Cleanup(func() { tcp.Close() })
	if sendBuffer > 0 {
		if err := unix.SetsockoptInt(tcp.FD, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := f.server.Start([]smtpd.Listener{{FD: tcp.FD}, {FD: f.listenUnix(path)}}); err != nil {
		f.t.Fatal(err)
	}
	return tcp.Addr.String()
}

// listenUnix returns a listening unix socket, as systemd passes one.
func (f *fixture) listenUnix(path string) (fd int) {
	f.t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, unix.SOMAXCONN)); err != nil {
		f.t.Fatal(err)
	}
	return fd
}

// keep is a Save function that keeps the message.
func (f *fixture) keep(e *envelope.Envelope, done func(error)) {
	go func() {
		f.record(e)
		done(nil)
	}()
}

func (f *fixture) record(e *envelope.Envelope) {
	m := dialogue.Message{From: e.From, Text: append([]byte(nil), e.Message()...)}
	for _, r := range e.To {
		m.To = append(m.To, r.Address)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored = append(f.stored, m)
}

func (f *fixture) messages() []dialogue.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stored
}

// await waits until ok returns true for the server's counters.
func (f *fixture) await(what string, ok func(smtpd.Stats) bool) {
	f.t.Helper()
	for end := time.Now().Add(testTimeout); ; time.Sleep(time.Millisecond) {
		if s := f.server.Stats(); ok(s) {
			return
		} else if time.Now().After(end) {
			f.t.Fatalf("timeout while waiting for %s: %+v", what, s)
		}
	}
}

// shutdown shuts the server down within testTimeout.
func (f *fixture) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	return f.server.Shutdown(ctx)
}

// A client is a simple SMTP client. An unexpected reply fails its test.
type client struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

// dial connects and does not read the greeting.
func (f *fixture) dial() *client {
	f.t.Helper()
	return f.dialTo("tcp", f.addr)
}

func (f *fixture) dialTo(network, addr string) *client {
	f.t.Helper()
	return f.dialBy(net.Dialer{}, network, addr)
}

// dialFrom connects from a local address.
func (f *fixture) dialFrom(local string) *client {
	f.t.Helper()
	return f.dialBy(net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}, "tcp", f.addr)
}

func (f *fixture) dialBy(d net.Dialer, network, addr string) *client {
	f.t.Helper()
	d.Timeout = testTimeout
	conn, err := d.Dial(network, addr)
	if err != nil {
		f.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	f.t.Cleanup(func() { conn.Close() })
	return newClient(f.t, conn)
}

func newClient(t testing.TB, conn net.Conn) *client {
	return &client{Conn: conn, t: t, in: bufio.NewReader(conn)}
}

// greeted connects and sends EHLO.
func (f *fixture) greeted() *client {
	f.t.Helper()
	c := f.dial()
	c.expect("220")
	c.cmd("EHLO client.example", "250")
	return c
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatalf("send %.40q: %v", s, err)
	}
}

// expect reads one reply, of any number of lines, and returns its last line.
func (c *client) expect(code string) string {
	c.t.Helper()
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("reading a reply returned %q and error %v, want reply %s", line, err, code)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, code) {
			c.t.Fatalf("reply is %q, want %s", line, code)
		}
		return line
	}
}

// cmd sends a command and expects a reply with this code.
func (c *client) cmd(command, code string) string {
	c.t.Helper()
	c.send(command + "\r\n")
	return c.expect(code)
}

// begin starts a transaction, up to the 354.
func (c *client) begin() {
	c.t.Helper()
	c.cmd("MAIL FROM:<a@example.org>", "250")
	c.cmd("RCPT TO:<b@example.com>", "250")
	c.cmd("DATA", "354")
}

// expectEnd expects that the server has closed the connection without more
// replies.
func (c *client) expectEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); len(rest) > 0 || err != nil {
		c.t.Fatalf("reading returned %q and error %v, want the end of the connection", rest, err)
	}
}

// startTLS starts TLS.
func (c *client) startTLS() {
	c.t.Helper()
	c.cmd("STARTTLS", "220")
	c.handshake()
}

// handshake performs the TLS handshake after the reply to STARTTLS.
func (c *client) handshake() {
	c.t.Helper()
	inside := tls.Client(c.Conn, clientTLS())
	if err := inside.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.Conn, c.in = inside, bufio.NewReader(inside)
}

func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// serverTLS returns a configuration with a self-signed certificate.
var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"mx.example.com"},
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
})
