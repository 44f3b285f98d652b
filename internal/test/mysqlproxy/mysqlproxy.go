// Package mysqlproxy is a proxy between a MySQL client and a server that breaks
// connections at chosen statements.
package mysqlproxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"goguerrillad/internal/test"
)

// A Fault is what a Proxy does to one statement or its answer.
type Fault struct {
	Name string
	// Part is how much of the statement reaches the server: 0 none, 1 half,
	// 2 all of it.
	Part int
	// Answer is how much of the answer's first packet reaches the client, the
	// same way; with 2 nothing is wrong.
	Answer int
	// Hang leaves the client's connection open instead of closing it, so that
	// only its own patience ends the wait.
	Hang bool
	// Reset ends both connections with a reset instead of a FIN.
	Reset bool
	// Delay is waited for before the answer is passed on or withheld.
	Delay time.Duration
}

// Faults are all ways in which a connection can end around a statement. Delay
// is left to the caller.
func Faults() []Fault {
	return []Fault{
		{Name: "before the statement", Part: 0},
		{Name: "before the statement, reset", Part: 0, Reset: true},
		{Name: "in the statement", Part: 1},
		{Name: "in the statement, reset", Part: 1, Reset: true},
		{Name: "behind the statement", Part: 2},
		{Name: "behind the statement, reset", Part: 2, Reset: true},
		{Name: "in the answer", Part: 2, Answer: 1},
		{Name: "in the answer, reset", Part: 2, Answer: 1, Reset: true},
	}
}

// Swallows are those that only the client's patience ends.
func Swallows() []Fault {
	return []Fault{
		{Name: "the statement is swallowed", Part: 0, Hang: true},
		{Name: "half the statement is swallowed", Part: 1, Hang: true},
		{Name: "the answer is swallowed", Part: 2, Hang: true},
	}
}

// A Proxy stands between a client and a server, without TLS, and reads
// along in the protocol as far as it needs to tell one statement from another.
type Proxy struct {
	Addr string // 127.0.0.1:port

	server atomic.Pointer[string] // host:port

	mu    sync.Mutex
	armed func(statement string) *Fault
	cuts  int
}

// Start starts a proxy before the server at a TCP address.
func Start(t test.T, server string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String()}
	p.Move(server)
	var open sync.WaitGroup
	t.Cleanup(open.Wait)
	t.Cleanup(func() { l.Close() })
	open.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.serve(client) })
		}
	})
	return p
}

// Arm sets what decides on each statement: nil lets it pass. A prepared
// statement is asked for by its text each time it is executed.
func (p *Proxy) Arm(decide func(statement string) *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = decide
}

// Once arms the proxy for the next statement that holds a text in its first
// textKept bytes, and returns a channel that is closed when it has come.
func (p *Proxy) Once(text string, f Fault) <-chan struct{} {
	done := make(chan struct{})
	fired := false
	p.Arm(func(statement string) *Fault {
		if fired || !strings.Contains(statement, text) {
			return nil
		}
		fired = true
		close(done)
		return &f
	})
	return done
}

// Move connects later clients to another server.
func (p *Proxy) Move(server string) { p.server.Store(&server) }

// Cuts returns how many statements were tampered with.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *Proxy) decide(statement string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed == nil || statement == "" {
		return nil
	}
	f := p.armed(statement)
	if f != nil {
		p.cuts++
	}
	return f
}

// A link is one client's connection and its own to the server.
type link struct {
	proxy          *Proxy
	client, server net.Conn

	mu        sync.Mutex
	preparing string            // the text of a PREPARE that has no answer yet
	prepared  map[uint32]string // by the server's number
	fault     *Fault            // for the next answer
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", *p.server.Load())
	if err != nil {
		return
	}
	defer server.Close()
	l := &link{proxy: p, client: client, server: server, prepared: map[uint32]string{}}
	var answers sync.WaitGroup
	answers.Go(func() {
		l.pass(server, client, l.answer)
		client.Close()
		server.Close()
	})
	l.pass(client, server, l.statement)
	// The server sees the end even where it still owes an answer.
	server.Close()
	client.Close()
	answers.Wait()
}

var errCut = errors.New("cut")

// pass passes packets on, each when it is complete, until an end.
func (l *link) pass(from, to net.Conn, look func(packet []byte) (part []byte, err error)) {
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		packet := make([]byte, 4)
		if _, err := io.ReadFull(r, packet); err != nil {
			return
		}
		n := int(packet[0]) | int(packet[1])<<8 | int(packet[2])<<16
		packet = append(packet, make([]byte, n)...)
		if _, err := io.ReadFull(r, packet[4:]); err != nil {
			return
		}
		part, cut := look(packet)
		if _, err := to.Write(part); err != nil || cut != nil {
			return
		}
	}
}

// textKept is how much of a statement is looked at, in bytes.
const textKept = 400

// Commands of the protocol.
const (
	comQuery   = 0x03
	comPrepare = 0x16
	comExecute = 0x17
)

// statement looks at a packet of the client's.
func (l *link) statement(packet []byte) ([]byte, error) {
	if packet[3] != 0 || len(packet) < 5 {
		return packet, nil // no beginning of a command
	}
	l.mu.Lock()
	text := ""
	switch body := packet[5:]; packet[4] {
	case comQuery:
		text = string(body[:min(len(body), textKept)])
	case comPrepare:
		l.preparing = string(body[:min(len(body), textKept)])
	case comExecute:
		text = l.prepared[binary.LittleEndian.Uint32(body)]
	}
	l.mu.Unlock()
	f := l.proxy.decide(text)
	if f == nil {
		return packet, nil
	}
	if f.Part < 2 {
		if f.Hang {
			return packet[:len(packet)*f.Part/2], nil
		}
		l.reset(f)
		return packet[:len(packet)*f.Part/2], errCut
	}
	l.mu.Lock()
	l.fault = f
	l.mu.Unlock()
	if f.Answer == 0 && !f.Hang && f.Delay == 0 {
		l.reset(f)
		return packet, errCut // the client's connection ends while the server is at work
	}
	return packet, nil
}

// answer looks at a packet of the server's.
func (l *link) answer(packet []byte) ([]byte, error) {
	l.mu.Lock()
	if l.preparing != "" && packet[3] == 1 {
		if len(packet) >= 9 && packet[4] == 0 {
			l.prepared[binary.LittleEndian.Uint32(packet[5:])] = l.preparing
		}
		l.preparing = ""
	}
	f := l.fault
	if f != nil && !f.Hang {
		l.fault = nil
	}
	l.mu.Unlock()
	if f == nil {
		return packet, nil
	}
	time.Sleep(f.Delay) // what is tested is a network that is slow
	switch {
	case f.Answer == 2:
		return packet, nil
	case f.Hang:
		return nil, nil
	}
	l.reset(f)
	return packet[:len(packet)*f.Answer/2], errCut
}

// reset has both connections end with a reset where the fault wants that.
func (l *link) reset(f *Fault) {
	if !f.Reset {
		return
	}
	for _, c := range []net.Conn{l.client, l.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
	}
}
