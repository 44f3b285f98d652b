package smtpd_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/dialogue"
)

// patience is how long a test waits for what must happen. Nothing is measured
// by it.
const patience = 20 * time.Second

// A fixture is a running server whose saver the test has in its hand.
type fixture struct {
	t        testing.TB
	server   *smtpd.Server
	addr     string // TCP
	unix     string // path
	settings atomic.Pointer[session.Settings]
	log      test.Log
	panics   uint64 // expected

	mu     sync.Mutex
	stored []dialogue.Message
}

// setup is what a test may change before the server starts.
type setup struct {
	fixture  *fixture // as it will be
	settings session.Settings
	limits   smtpd.Settings
	loops    int
	// sendBuffer is SO_SNDBUF of the server's TCP connections, 0 for the kernel's.
	sendBuffer int
	// save takes the place of one that keeps the message and says yes.
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
	var hashes smtpd.Hashes
	f.server, err = smtpd.New(smtpd.Options{
		Loops: s.loops,
		World: &session.World{
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
			t.Errorf("%d panics, want %d: %s", n, f.panics, f.log.String())
		}
	})
	return f
}

// listen starts the server on a TCP and a unix socket.
func (f *fixture) listen(path string, sendBuffer int) (addr string) {
	f.t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	local, err := net.Listen("unix", path)
	if err != nil {
		f.t.Fatal(err)
	}
	var fds []int
	for _, l := range []interface{ File() (*os.File, error) }{tcp.(*net.TCPListener), local.(*net.UnixListener)} {
		file, err := l.File()
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { file.Close() })
		fds = append(fds, int(file.Fd()))
	}
	if sendBuffer > 0 {
		if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
			f.t.Fatal(err)
		}
	}
	// The files are sockets of their own.
	addr = tcp.Addr().String()
	tcp.Close()
	local.(*net.UnixListener).SetUnlinkOnClose(false)
	local.Close()
	if err := f.server.Start(fds); err != nil {
		f.t.Fatal(err)
	}
	return addr
}

// keep is a saver that keeps the message.
func (f *fixture) keep(e *envelope.Envelope, done func(error)) {
	go func() {
		f.note(e)
		done(nil)
	}()
}

func (f *fixture) note(e *envelope.Envelope) {
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

// await waits until the server's counters are as wanted.
func (f *fixture) await(what string, ok func(smtpd.Stats) bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if s := f.server.Stats(); ok(s) {
			return
		} else if time.Now().After(end) {
			f.t.Fatalf("%s: it did not come so: %+v", what, s)
		}
	}
}

// shutdown drains the server within patience.
func (f *fixture) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return f.server.Shutdown(ctx)
}

// A client is a plain SMTP client that fails the test when it is let down.
type client struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

// dial connects; read the greeting by expect.
func (f *fixture) dial() *client {
	f.t.Helper()
	return f.dialTo("tcp", f.addr)
}

func (f *fixture) dialTo(network, addr string) *client {
	f.t.Helper()
	return f.dialBy(net.Dialer{}, network, addr)
}

// dialFrom connects as the client of this address.
func (f *fixture) dialFrom(local string) *client {
	f.t.Helper()
	return f.dialBy(net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}, "tcp", f.addr)
}

func (f *fixture) dialBy(d net.Dialer, network, addr string) *client {
	f.t.Helper()
	d.Timeout = patience
	conn, err := d.Dial(network, addr)
	if err != nil {
		f.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	f.t.Cleanup(func() { conn.Close() })
	return newClient(f.t, conn)
}

func newClient(t testing.TB, conn net.Conn) *client {
	return &client{Conn: conn, t: t, in: bufio.NewReader(conn)}
}

// greeted connects and says EHLO.
func (f *fixture) greeted() *client {
	f.t.Helper()
	c := f.dial()
	c.expect("220")
	c.say("EHLO client.example", "250")
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
			c.t.Fatalf("got %q and %v, want %s", line, err, code)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, code) {
			c.t.Fatalf("got %q, want %s", line, code)
		}
		return line
	}
}

// say sends a command and expects the code.
func (c *client) say(command, code string) string {
	c.t.Helper()
	c.send(command + "\r\n")
	return c.expect(code)
}

// begin opens a transaction up to the 354.
func (c *client) begin() {
	c.t.Helper()
	c.say("MAIL FROM:<a@example.org>", "250")
	c.say("RCPT TO:<b@example.com>", "250")
	c.say("DATA", "354")
}

// expectEnd wants the server to have closed, after nothing more.
func (c *client) expectEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); len(rest) > 0 || err != nil {
		c.t.Fatalf("got %q and %v, want the end", rest, err)
	}
}

// startTLS goes on inside TLS.
func (c *client) startTLS() {
	c.t.Helper()
	c.say("STARTTLS", "220")
	c.shake()
}

// shake is the handshake after the reply to STARTTLS.
func (c *client) shake() {
	c.t.Helper()
	inside := tls.Client(c.Conn, clientTLS())
	if err := inside.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.Conn, c.in = inside, bufio.NewReader(inside)
}

func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// serverTLS returns a configuration with a certificate of its own.
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
