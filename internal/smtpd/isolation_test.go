package smtpd_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/test"
)

// TestTLSIsolation: no client receives TLS records of another client. Clients that
// cause every kind of error in crypto/tls do not change the dialogues of other
// clients of the same loop.
func TestTLSIsolation(t *testing.T) {
	seed := test.Seed(t)
	f := start(t, func(s *setup) { s.loops = 1 })

	const intruders, clients = 6, 6
	enough := int64(30 * len(intrusions))
	var intruded, conversing atomic.Int64
	var all sync.WaitGroup
	for i := range intruders {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for !t.Failed() && (conversing.Load() > 0 || intruded.Load() < enough) {
				kind := int(intruded.Add(1)) % len(intrusions)
				if err := f.intrude(rng, kind); err != nil {
					t.Errorf("%s: %v", intrusions[kind].name, err)
				}
				if err := f.breakHandshake(rng); err != nil {
					t.Errorf("handshake: %v", err)
				}
			}
		})
	}
	var mu sync.Mutex
	var sent []string
	for i := range clients {
		conversing.Add(1)
		all.Go(func() {
			defer conversing.Add(-1)
			rng := rand.New(rand.NewPCG(seed, uint64(intruders+i)))
			for n := 0; !t.Failed() && (n < 20 || intruded.Load() < enough); n++ {
				texts, err := f.converse(rng, fmt.Sprintf("client %d, session %d", i, n))
				if err != nil {
					t.Errorf("client %d, session %d: %v", i, n, err)
				}
				mu.Lock()
				sent = append(sent, texts...)
				mu.Unlock()
			}
		})
	}
	all.Wait()

	var stored []string
	for _, m := range f.messages() {
		stored = append(stored, string(m.Text))
	}
	slices.Sort(sent)
	slices.Sort(stored)
	if !slices.Equal(sent, stored) {
		t.Errorf("%d messages are stored, %d were sent; they differ", len(stored), len(sent))
	}
	f.await("end of all sessions", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.Memory == 0 })
	t.Logf("%d messages, %d intrusions", len(sent), intruded.Load())
}

// requestTLS connects and sends STARTTLS.
func (f *fixture) requestTLS() (*net.TCPConn, error) {
	conn, err := net.DialTimeout("tcp", f.addr, testTimeout)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	in := bufio.NewReader(conn)
	err = exchange(conn, in, "", "220")
	if err == nil {
		err = exchange(conn, in, "EHLO x\r\nSTARTTLS\r\n", "250", "220")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// secure connects and performs a handshake of this version. It returns the TCP
// connection, the TLS connection, and a sealer that can replace its Write.
func (f *fixture) secure(version uint16) (*net.TCPConn, *tls.Conn, *sealer, error) {
	tcp, err := f.requestTLS()
	if err != nil {
		return nil, nil, nil, err
	}
	inside, s, err := intrude(tcp, version)
	if err != nil {
		tcp.Close()
		return nil, nil, nil, err
	}
	return tcp, inside, s, nil
}

// exchange sends commands and expects replies with these codes.
func exchange(out io.Writer, in *bufio.Reader, commands string, codes ...string) error {
	if _, err := io.WriteString(out, commands); err != nil {
		return err
	}
	for i, code := range codes {
		for more := true; more; {
			line, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("reply %d of %d is %q: %w", i+1, len(codes), line, err)
			}
			if !strings.HasPrefix(line, code) {
				return fmt.Errorf("reply %d of %d is %q, want %s", i+1, len(codes), line, code)
			}
			more = strings.HasPrefix(line, code+"-")
		}
	}
	return nil
}

// conversations are groups of commands, each with the codes of its replies.
var conversations = []struct{ commands, codes string }{
	{"NOOP\r\n", "250"},
	{"EHLO x\r\n", "250"},
	{strings.Repeat("NOOP\r\n", 2000), strings.Repeat("250 ", 2000)},
	{"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRSET\r\n", "250 250 250"},
	{"BLAH\r\n", "500"},
}

// converse runs a dialogue that other clients must not affect. It returns the messages
// that were acknowledged.
func (f *fixture) converse(rng *rand.Rand, name string) (texts []string, err error) {
	tcp, inside, _, err := f.secure(randomVersion(rng))
	if err != nil {
		return nil, err
	}
	defer tcp.Close()
	in := bufio.NewReader(inside)
	if err := exchange(inside, in, "EHLO x\r\n", "250"); err != nil {
		return nil, err
	}
	for i := range 1 + rng.IntN(5) {
		c := conversations[rng.IntN(len(conversations))]
		if err := exchange(inside, in, c.commands, strings.Fields(c.codes)...); err != nil {
			return texts, err
		}
		text := fmt.Sprintf("%s, message %d\r\n", name, i)
		text = strings.Repeat(text, 1+rng.IntN(2000))
		if err := exchange(inside, in, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n", "250", "250", "354"); err != nil {
			return texts, err
		}
		if err := exchange(inside, in, text+".\r\n", "250"); err != nil {
			return texts, err
		}
		texts = append(texts, text)
	}
	if err := exchange(inside, in, "QUIT\r\n", "221"); err != nil {
		return texts, err
	}
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil { // without an error only after a close_notify
		return texts, fmt.Errorf("after QUIT: %q, %w", rest, err)
	}
	return texts, nil
}

// phases are the commands before an intrusion, and the codes of their replies.
var phases = []struct{ commands, codes string }{
	{"N", ""},
	{"EHLO x\r\nNO", "250"},
	{"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n", "250 250 250"},
	{"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\ntext", "250 250 250 354"},
	{"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nBDAT 1000\r\ntext", "250 250 250"},
	{strings.Repeat("NOOP\r\n", 500), strings.Repeat("250 ", 500)},
}

// intrude breaks its own connection, in a random phase of a random TLS version,
// and expects the server's alert.
func (f *fixture) intrude(rng *rand.Rand, kind int) error {
	version := randomVersion(rng)
	tcp, inside, s, err := f.secure(version)
	if err != nil {
		return err
	}
	defer tcp.Close()
	phase, intrusion := phases[rng.IntN(len(phases))], intrusions[kind]
	in := bufio.NewReader(inside)
	out := &slicer{Conn: tcp, n: 1 + rng.IntN(1000)}
	codes := strings.Fields(phase.codes)
	before := s.seal(recordData, phase.commands)
	if rng.IntN(4) == 0 { // in one write with the commands, whose replies may be lost
		if _, err := io.WriteString(out, before+intrusion.bytes(s)); err != nil {
			return nil
		}
		if rng.IntN(2) == 0 {
			tcp.SetLinger(0)
			return nil
		}
		tcp.CloseWrite()
		io.Copy(io.Discard, inside)
		return nil
	}
	if err := exchange(out, in, before, codes...); err != nil {
		return err
	}
	if _, err := io.WriteString(out, intrusion.bytes(s)); err != nil {
		return err
	}
	tcp.CloseWrite()
	rest, err := io.ReadAll(in)
	alert := err != nil && strings.HasPrefix(err.Error(), "remote error: tls: ")
	want := intrusion.alert == both || intrusion.alert == only13 && version == tls.VersionTLS13
	if alert != want {
		return fmt.Errorf("version %x, after %.30q: received %q and error %v; an alert is expected: %v", version, phase.commands, rest, err, want)
	}
	return nil
}

// breakHandshake breaks its own handshake: it changes a byte that the client sends, or
// disconnects.
func (f *fixture) breakHandshake(rng *rand.Rand) error {
	tcp, err := f.requestTLS()
	if err != nil {
		return err
	}
	defer tcp.Close()
	config := clientTLS()
	config.MaxVersion = randomVersion(rng)
	inside := tls.Client(&garbler{TCPConn: tcp, left: rng.IntN(600), cut: rng.IntN(2) == 0}, config)
	if inside.Handshake() == nil {
		io.WriteString(inside, "NOOP\r\n")
	}
	tcp.CloseWrite()
	io.Copy(io.Discard, tcp)
	return nil
}

// A garbler changes one byte of its output and closes the connection after that write,
// or closes the connection before that byte.
type garbler struct {
	*net.TCPConn
	left int  // bytes before the changed byte
	cut  bool // close before that byte
}

func (g *garbler) Write(p []byte) (int, error) {
	at := g.left
	if g.left -= len(p); at < 0 || g.left >= 0 {
		return g.TCPConn.Write(p)
	}
	defer g.CloseWrite() // the server may wait for more input
	if g.cut {
		return g.TCPConn.Write(p[:at])
	}
	p = append([]byte(nil), p...)
	p[at] ^= 0x55
	return g.TCPConn.Write(p)
}

func randomVersion(rng *rand.Rand) uint16 {
	return tls.VersionTLS12 + uint16(rng.IntN(2))
}

// TestKeyUpdate: a client that requests new keys with each of many pipelined
// commands gets all replies.
func TestKeyUpdate(t *testing.T) {
	f := start(t, func(s *setup) { s.loops = 1 })
	tcp, inside, s, err := f.secure(tls.VersionTLS13)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcp.SetDeadline(time.Now().Add(3 * time.Minute)) // for a busy machine
	const commands = 20_000
	go func() {
		var out strings.Builder
		for range commands / 100 {
			for range 100 {
				out.WriteString(s.update() + s.seal(recordData, "NOOP\r\n"))
			}
			io.WriteString(tcp, out.String())
			out.Reset()
		}
	}()
	f.greeted().cmd("QUIT", "221") // the loop serves other clients meanwhile
	if err := exchange(io.Discard, bufio.NewReader(inside), "", slices.Repeat([]string{"250"}, commands)...); err != nil {
		t.Error(err)
	}
}

// TestPanic: a panic in a command or in a handshake closes only the connection
// that caused it.
func TestPanic(t *testing.T) {
	f := start(t, func(s *setup) {
		s.loops = 1
		s.settings.Fits = func(string) *smtp.Reply { panic("no address") }
		s.limits.TLS = serverTLS().Clone()
		s.limits.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("no configuration") }
	})
	f.panics = 2
	other := f.greeted()
	c := f.greeted()
	c.cmd("MAIL FROM:<a@example.org>", "250")
	c.send("RCPT TO:<b@example.com>\r\n")
	c.expectEnd()
	c = f.greeted()
	c.cmd("STARTTLS", "220")
	if err := tls.Client(c.Conn, clientTLS()).Handshake(); err == nil {
		t.Error("the handshake did not fail")
	}
	c.Close()
	other.cmd("QUIT", "221")
	f.await("end of all sessions, 1 failed handshake", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.TLSFailed == 1 })
	for _, reason := range []string{"no address", "no configuration"} {
		if !strings.Contains(f.log.String(), reason) {
			t.Errorf("the log lacks %q:\n%s", reason, f.log.String())
		}
	}
}
