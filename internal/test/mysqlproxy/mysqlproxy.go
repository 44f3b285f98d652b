// Package mysqlproxy is a proxy between MySQL clients and a server. It breaks connections
// at chosen statements.
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

// A Fault is what a Proxy does to one statement or its reply.
type Fault struct {
	Name string
	// Part is how much of the statement reaches the server: 0 none, 1 half,
	// 2 all of it.
	Part int
	// Reply is how much of the first packet of the reply reaches the client: 0 none,
	// 1 half, 2 all of it, which is no fault.
	Reply int
	// Hang keeps the client's connection open, so that only a timeout of the client
	// ends the wait.
	Hang bool
	// Reset ends both connections with a reset instead of a FIN.
	Reset bool
	// Delay is the time before the reply is forwarded or withheld.
	Delay time.Duration
}

// Faults returns all ways in which a connection can end during a statement, without a
// Delay.
func Faults() []Fault {
	return []Fault{
		{Name: "before the statement", Part: 0},
		{Name: "before the statement, reset", Part: 0, Reset: true},
		{Name: "in the statement", Part: 1},
		{Name: "in the statement, reset", Part: 1, Reset: true},
		{Name: "after the statement", Part: 2},
		{Name: "after the statement, reset", Part: 2, Reset: true},
		{Name: "in the reply", Part: 2, Reply: 1},
		{Name: "in the reply, reset", Part: 2, Reply: 1, Reset: true},
	}
}

// HangFaults returns the faults that only a timeout of the client ends.
func HangFaults() []Fault {
	return []Fault{
		{Name: "the statement is discarded", Part: 0, Hang: true},
		{Name: "half of the statement is discarded", Part: 1, Hang: true},
		{Name: "the reply is discarded", Part: 2, Hang: true},
	}
}

// A Proxy forwards connections without TLS. It parses the protocol only to find the
// statements.
type Proxy struct {
	Addr string // 127.0.0.1:port

	server atomic.Pointer[string] // host:port

	mu    sync.Mutex
	armed func(statement string) *Fault
	cuts  int
}

// Start starts a proxy for the server at a TCP address.
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

// Arm sets the function that returns the fault for each statement, nil for no fault. The
// text of a prepared statement is passed to the function each time it is executed.
func (p *Proxy) Arm(decide func(statement string) *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = decide
}

// Once applies a fault to the next statement that has text in its first 400 bytes. The
// channel that it returns is closed when it applies the fault.
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

// Cuts returns the number of statements with a fault.
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

// A link is the connection of one client and the connection to the server for it.
type link struct {
	proxy          *Proxy
	client, server net.Conn

	mu        sync.Mutex
	preparing string            // text of a PREPARE without a reply yet
	prepared  map[uint32]string // by the statement id of the server
	fault     *Fault            // for the next reply
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", *p.server.Load())
	if err != nil {
		return
	}
	defer server.Close()
	l := &link{proxy: p, client: client, server: server, prepared: map[uint32]string{}}
	var replies sync.WaitGroup
	replies.Go(func() {
		l.pass(server, client, l.reply)
		client.Close()
		server.Close()
	})
	l.pass(client, server, l.statement)
	// Close the connection to the server even if the server has not replied yet.
	server.Close()
	client.Close()
	replies.Wait()
}

var errCut = errors.New("cut")

// pass forwards complete packets until one side ends.
func (l *link) pass(from, to net.Conn, examine func(packet []byte) (part []byte, err error)) {
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
		part, cut := examine(packet)
		if _, err := to.Write(part); err != nil || cut != nil {
			return
		}
	}
}

// maxText is the size of the examined part of a statement, in bytes.
const maxText = 400

// Commands of the protocol.
const (
	comQuery   = 0x03
	comPrepare = 0x16
	comExecute = 0x17
)

// statement examines a packet of the client.
func (l *link) statement(packet []byte) ([]byte, error) {
	if packet[3] != 0 || len(packet) < 5 {
		return packet, nil // not the beginning of a command
	}
	l.mu.Lock()
	text := ""
	switch body := packet[5:]; packet[4] {
	case comQuery:
		text = string(body[:min(len(body), maxText)])
	case comPrepare:
		l.preparing = string(body[:min(len(body), maxText)])
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
	if f.Reply == 0 && !f.Hang && f.Delay == 0 {
		l.reset(f)
		return packet, errCut // the client's connection ends while the server works
	}
	return packet, nil
}

// reply examines a packet of the server.
func (l *link) reply(packet []byte) ([]byte, error) {
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
	time.Sleep(f.Delay) // simulates a slow network
	switch {
	case f.Reply == 2:
		return packet, nil
	case f.Hang:
		return nil, nil
	}
	l.reset(f)
	return packet[:len(packet)*f.Reply/2], errCut
}

// reset makes both connections end with a reset if the fault has Reset.
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
