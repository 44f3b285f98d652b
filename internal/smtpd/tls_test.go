package smtpd_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtpd"
)

// TestTLSVersions: the server accepts TLS 1.2 and 1.3, and the envelope has the
// version.
func TestTLSVersions(t *testing.T) {
	descriptions := make(chan string, 1)
	f := start(t, func(s *setup) {
		s.save = func(e *envelope.Envelope, done func(error)) { descriptions <- e.TLS; go done(nil) }
	})
	for _, test := range []struct {
		version uint16
		want    string    // prefix of Envelope.TLS; "" if the handshake fails
		counts  [3]uint64 // TLS13, TLS12 and TLSFailed of Stats
	}{
		{tls.VersionTLS13, "TLS1.3 TLS_", [3]uint64{1, 0, 0}},
		{tls.VersionTLS12, "TLS1.2 TLS_", [3]uint64{1, 1, 0}},
		{tls.VersionTLS11, "", [3]uint64{1, 1, 1}},
	} {
		c := f.greeted()
		c.cmd("STARTTLS", "220")
		config := clientTLS()
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, test.version
		inside := tls.Client(c.Conn, config)
		err := inside.Handshake()
		if (err == nil) != (test.want != "") {
			t.Errorf("version %x: the handshake returned %v, success is expected: %v", test.version, err, test.want != "")
		}
		f.await(fmt.Sprintf("TLS13, TLS12 and TLSFailed of %v", test.counts), func(s smtpd.Stats) bool { return [3]uint64{s.TLS13, s.TLS12, s.TLSFailed} == test.counts })
		if err != nil {
			continue
		}
		c = newClient(t, inside)
		c.cmd("EHLO x", "250")
		c.begin()
		c.cmd("text\r\n.", "250")
		if got := <-descriptions; !strings.HasPrefix(got, test.want) {
			t.Errorf("version %x: TLS of the envelope is %q, want prefix %q", test.version, got, test.want)
		}
		c.cmd("QUIT", "221")
		if _, err := io.ReadAll(c.in); err != nil { // nil only after a close_notify
			t.Errorf("version %x: the connection ended with %v", test.version, err)
		}
	}
}

// TestCertificates: with an ECDSA and an RSA certificate, each client receives one that it
// can verify, and one for the name that it expects.
func TestCertificates(t *testing.T) {
	certificate := func(key crypto.Signer, name string) tls.Certificate {
		t.Helper()
		template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(s *setup) {
		s.limits.TLS = &tls.Config{Certificates: []tls.Certificate{
			certificate(ec, "mx.example.com"), certificate(rsaKey, "mx.example.com"), certificate(rsaKey, "mx.example.net"),
		}}
	})
	for _, tt := range []struct {
		name      string
		suites    []uint16 // of TLS 1.2; nil for TLS 1.3
		algorithm x509.PublicKeyAlgorithm
		want      string
	}{
		{"mx.example.com", nil, x509.ECDSA, "mx.example.com"},
		{"mx.example.com", []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, x509.RSA, "mx.example.com"},
		{"mx.example.com", []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, x509.ECDSA, "mx.example.com"},
		{"mx.example.net", nil, x509.RSA, "mx.example.net"},
		{"other.example", nil, x509.ECDSA, "mx.example.com"},
		{"", nil, x509.ECDSA, "mx.example.com"},
	} {
		c := f.greeted()
		c.cmd("STARTTLS", "220")
		config := &tls.Config{InsecureSkipVerify: true, ServerName: tt.name, CipherSuites: tt.suites}
		if tt.suites != nil {
			config.MaxVersion = tls.VersionTLS12
		}
		inside := tls.Client(c.Conn, config)
		if err := inside.Handshake(); err != nil {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		if got := inside.ConnectionState().PeerCertificates[0]; got.PublicKeyAlgorithm != tt.algorithm || got.DNSNames[0] != tt.want {
			t.Errorf("%+v: certificate of %v with %v", tt, got.DNSNames, got.PublicKeyAlgorithm)
		}
	}
}

// TestInjection: commands in clear after STARTTLS are not run inside TLS.
func TestInjection(t *testing.T) {
	f := start(t, nil)
	c := f.greeted()
	c.send("STARTTLS\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.com>\r\n")
	c.expect("220")
	if n := c.in.Buffered(); n > 0 {
		t.Fatalf("%d bytes after the 220, want 0", n)
	}
	inside := tls.Client(c.Conn, clientTLS())
	if err := inside.Handshake(); err != nil {
		t.Fatal(err)
	}
	c = newClient(t, inside)
	c.cmd("EHLO x", "250")
	c.cmd("DATA", "503") // there is no transaction
}

// TestHandshakeFails: a failed handshake leaves no session and no memory, after
// invalid input, a timeout or a disconnect.
func TestHandshakeFails(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*client)
	}{
		{"garbage", func(c *client) { c.send(strings.Repeat("garbage", 10000)) }},
		{"plain command", func(c *client) { c.send("EHLO x\r\n") }},
		{"huge record", func(c *client) { c.send("\x16\x03\x01\xff\xff" + strings.Repeat("x", 70000)) }},
		{"sslv2", func(c *client) { c.send("\x80\x2e\x01\x00\x02" + strings.Repeat("x", 50)) }},
		{"silence", func(*client) {}},
		{"half a hello", func(c *client) { c.send("\x16\x03\x01\x02\x00\x01\x00") }},
		{"byte by byte", func(c *client) {
			go func() {
				for _, err := c.Write([]byte("\x16\x03\x01\x02\x00")); err == nil; _, err = c.Write([]byte("x")) {
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}},
		{"end", func(c *client) { c.Conn.(*net.TCPConn).CloseWrite() }},
		{"end in a hello", func(c *client) { c.send("\x16\x03\x01\x02\x00\x01"); c.Conn.(*net.TCPConn).CloseWrite() }},
		{"reset", func(c *client) { c.Conn.(*net.TCPConn).SetLinger(0); c.Close() }},
		{"hello, then nothing", func(c *client) {
			// The client does not read the server's part of the handshake.
			tls.Client(writeOnly{c.Conn}, clientTLS()).Handshake()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, func(s *setup) { s.settings.Timeout = 700 * time.Millisecond; s.loops = 1 })
			c := f.greeted()
			c.cmd("STARTTLS", "220")
			test.do(c)
			other := f.greeted() // the loop serves other clients meanwhile
			other.cmd("QUIT", "221")
			f.await("end of all sessions, 1 failed handshake", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.TLSFailed == 1 && s.Memory == 0 })
		})
	}
}

// writeOnly is a connection whose Read fails.
type writeOnly struct{ net.Conn }

func (writeOnly) Read([]byte) (int, error) { return 0, errors.New("write only") }

// TestTLSWithoutCloseNotify: a client that disconnects without close_notify causes
// no warning.
func TestTLSWithoutCloseNotify(t *testing.T) {
	f := start(t, nil)
	for _, disconnect := range []func(*net.TCPConn) error{(*net.TCPConn).Close, (*net.TCPConn).CloseWrite} {
		c := f.greeted()
		raw := c.Conn.(*net.TCPConn)
		c.startTLS()
		c.cmd("NOOP", "250")
		disconnect(raw)
		f.await("end of the session", func(s smtpd.Stats) bool { return s.Sessions == 0 })
	}
	for _, level := range []string{"WARN", "ERROR"} {
		if strings.Contains(f.log.String(), "level="+level) {
			t.Errorf("the log has a line at level %s:\n%s", level, f.log.String())
		}
	}
}

// TestTLSRecords: the server handles a record in parts, many records at once and a
// large message, and serves other clients meanwhile.
func TestTLSRecords(t *testing.T) {
	f := start(t, func(s *setup) { s.settings.MaxSize = 8 << 20; s.loops = 1 })
	c := f.greeted()
	slow := &slicer{Conn: c.Conn, n: 7}
	c.cmd("STARTTLS", "220")
	inside := tls.Client(slow, clientTLS())
	if err := inside.Handshake(); err != nil {
		t.Fatal(err)
	}
	c = newClient(t, inside)
	c.cmd("EHLO x", "250")
	c.begin()
	slow.n = 100_000
	text := strings.Repeat(strings.Repeat("0123456789", 9)+"\r\n", 50_000)
	c.send(text)
	f.greeted().cmd("QUIT", "221")
	c.cmd(".", "250")
	if got := f.messages(); len(got) != 1 || string(got[0].Text) != text {
		t.Errorf("%d messages are saved, want one with the text that was sent", len(got))
	}
	c.send(strings.Repeat("NOOP\r\n", 5000))
	for range 5000 {
		c.expect("250")
	}
}

// slicer splits writes into pieces of n bytes.
type slicer struct {
	net.Conn
	n int
}

func (s *slicer) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n, err := s.Conn.Write(p[sent:min(sent+s.n, len(p))])
		if sent += n; err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// TestTLSClientThatDoesNotRead: the server stops reading from a client that reads
// no replies, also inside TLS.
func TestTLSClientThatDoesNotRead(t *testing.T) {
	f := start(t, func(s *setup) { s.loops = 1 })
	c := f.dialTo("unix", f.unix)
	c.expect("220")
	c.startTLS()
	inside := c.Conn
	ehlo := strings.Repeat("EHLO a\r\n", 1000)
	sent := make(chan int, 1)
	go func() {
		n := 0
		for range 100 {
			k, err := io.WriteString(inside, ehlo)
			if n += k; err != nil {
				break
			}
		}
		sent <- n
	}()
	select {
	case <-sent:
		t.Fatal("the server read 800 kB from a client that reads no replies")
	case <-time.After(500 * time.Millisecond):
	}
	f.greeted().cmd("QUIT", "221")
	for range 100 * 1000 {
		c.expect("250")
	}
}

// TestTLSReload: a reload that removes the certificate does not affect sessions
// inside TLS, and closes the connection of a client that then sends STARTTLS.
func TestTLSReload(t *testing.T) {
	f := start(t, nil)
	old := f.greeted()
	old.startTLS()
	f.server.Reload(smtpd.Settings{MaxClients: 10, Memory: 1 << 20}) // without a certificate
	old.cmd("NOOP", "250")
	c := f.greeted()
	c.cmd("STARTTLS", "220") // the session's settings still offer it
	c.expectEnd()
}

// TestStartTLSAfterReplies: the reply to STARTTLS may wait until the client has
// read the replies before it.
func TestStartTLSAfterReplies(t *testing.T) {
	f := start(t, func(s *setup) { s.loops = 1 })
	other := f.greeted()
	for n := 500; n < 1500; n += 20 { // some of these numbers of replies just fill the socket
		c := f.dialTo("unix", f.unix)
		c.expect("220")
		c.send(strings.Repeat("EHLO a\r\n", n) + "STARTTLS\r\n")
		for range 10 {
			other.cmd("NOOP", "250") // the loop has completed rounds meanwhile
		}
		for range n {
			c.expect("250")
		}
		c.expect("220")
		c.handshake()
		c.Close()
	}
}

// smallWindow sets a small receive buffer; for net.Dialer.Control.
func smallWindow(_, _ string, c syscall.RawConn) (err error) {
	failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
	})
	return errors.Join(err, failed)
}

// TestStartTLSAlone: a client that sends nothing after STARTTLS costs no goroutine,
// also if the socket accepts the reply in parts, and can start TLS later.
func TestStartTLSAlone(t *testing.T) {
	f := start(t, func(s *setup) { s.loops, s.sendBuffer = 1, 4096 })
	other := f.greeted()
	for _, replies := range []int{0, 300} { // before the reply to STARTTLS
		before := runtime.NumGoroutine()
		var clients []*client
		for range 30 {
			c := f.dialBy(net.Dialer{Control: smallWindow}, "tcp", f.addr)
			c.expect("220")
			c.send(strings.Repeat("EHLO a\r\n", replies) + "STARTTLS\r\n")
			for range replies {
				c.expect("250")
			}
			c.expect("220")
			clients = append(clients, c)
		}
		for range 10 {
			other.cmd("NOOP", "250") // the loop has handled the events of all clients
		}
		if n := runtime.NumGoroutine() - before; n > len(clients)/2 {
			t.Errorf("%d more goroutines for %d clients after %d replies", n, len(clients), replies)
		}
		for _, c := range clients {
			c.handshake()
		}
	}
}

// TestFinishedAcknowledged: a client without TCP_NODELAY, whose first command waits
// for the acknowledgement of its Finished message, does not wait for the kernel's
// delay of 40 ms. The test compares the minimum of many sessions, so that load
// has no effect.
func TestFinishedAcknowledged(t *testing.T) {
	f := start(t, nil)
	f.compareDelays("TLS and EHLO", func(c *client) {
		c.startTLS()
		c.cmd("EHLO x", "250")
	})
}

// TestTextAcknowledged: the rest of a message does not wait for the kernel's delay either.
func TestTextAcknowledged(t *testing.T) {
	f := start(t, nil)
	for _, inside := range []bool{false, true} {
		f.compareDelays(fmt.Sprintf("two messages, inside TLS: %v", inside), func(c *client) {
			if inside {
				c.startTLS()
				c.cmd("EHLO x", "250")
			}
			for range 2 {
				c.begin()
				c.send("the first part of the text\r\n")
				c.send("the rest\r\n")
				c.cmd(".", "250")
			}
			c.cmd("MAIL FROM:<a@example.org>", "250")
			c.cmd("RCPT TO:<b@example.com>", "250")
			c.send("BDAT 6\r\nte")
			c.send("xt\r\nBDAT 8 LAST\r\nth") // the reply to the first chunk delays acknowledgements again
			c.send("e end\r\n")
			c.expect("250")
			c.expect("250")
		})
	}
}

// compareDelays runs a dialogue with and without TCP_NODELAY.
func (f *fixture) compareDelays(name string, run func(*client)) {
	f.t.Helper()
	least := func(nodelay bool) time.Duration {
		least := time.Hour
		for range 20 {
			c := f.greeted()
			c.Conn.(*net.TCPConn).SetNoDelay(nodelay)
			started := time.Now()
			run(c)
			least = min(least, time.Since(started))
			c.Close()
		}
		return least
	}
	if with, without := least(true), least(false); without > with+20*time.Millisecond {
		f.t.Errorf("%s take %v without TCP_NODELAY and %v with it, want a difference of at most 20 ms", name, without, with)
	}
}
