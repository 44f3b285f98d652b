// Package pgproxy is a proxy between PostgreSQL clients and a server. It breaks connections
// at chosen messages of the protocol (version 3, without TLS).
package pgproxy

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"goguerrillad/internal/test"
)

// A Request is what a client sends until it waits for a response: the messages up to a
// Query or Sync, the messages of a COPY after its Query, or the login.
type Request struct {
	// Executed has the texts of Query messages, and of the statements that Bind messages
	// refer to. The text of a login is "startup" and its parameters.
	Executed []string
	Parsed   []string // texts of Parse messages
	Messages string   // types of the messages, such as "PBDES"; a login begins with "0"
}

// An Exchange is a Request and its response. It does not contain notices, notifications and
// parameters, which the server may send at any time.
type Exchange struct {
	Request
	Response string // types of the messages, such as "12TDCZ"
}

// A Match selects requests.
type Match func(r Request) bool

// Executes selects requests that execute a statement with this text in its first 400 bytes.
func Executes(text string) Match { return func(r Request) bool { return contains(r.Executed, text) } }

// Parses selects requests that parse a statement with this text in its first 400 bytes.
func Parses(text string) Match { return func(r Request) bool { return contains(r.Parsed, text) } }

// Sends selects requests with a sequence of message types, such as "ES".
func Sends(types string) Match {
	return func(r Request) bool { return strings.Contains(r.Messages, types) }
}

func contains(texts []string, text string) bool {
	for _, t := range texts {
		if strings.Contains(t, text) {
			return true
		}
	}
	return false
}

// A Proxy forwards connections. It forwards a request when it has all messages up to the
// Query, Sync or Flush, so that a fault before the first message sees the whole request.
type Proxy struct {
	Addr string // 127.0.0.1:port

	server atomic.Pointer[string] // host:port

	mu       sync.Mutex
	armed    func(r Request) *Fault
	record   Match
	recorded chan Exchange
	applied  func(f *Fault)
	cuts     int
	release  chan struct{}
	deliver  bool // for the links that release ends
}

// Start starts a proxy for the server at a TCP address. At the end of the test it ends all
// connections.
func Start(t test.T, server string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), release: make(chan struct{})}
	p.Move(server)
	var open sync.WaitGroup
	t.Cleanup(open.Wait)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	t.Cleanup(func() { p.Release(false) })
	t.Cleanup(func() { l.Close() })
	open.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.serve(ctx, client) })
		}
	})
	return p
}

// Arm sets the function that returns the fault for each request, nil for no fault. The
// messages of a COPY after its Query are not yet known to the function.
func (p *Proxy) Arm(decide func(r Request) *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.applied = decide, nil
}

// Once applies a fault to the next request that matches. The channel that it returns is
// closed when the fault has happened.
func (p *Proxy) Once(match Match, f Fault) <-chan struct{} {
	done := make(chan struct{})
	decided := false
	p.Arm(func(r Request) *Fault {
		if decided || !match(r) {
			return nil
		}
		decided = true
		return &f
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = func(applied *Fault) {
		if applied == &f {
			close(done)
		}
	}
	return done
}

// Record returns the next exchange that matches, when it has ended.
func (p *Proxy) Record(match Match) <-chan Exchange {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.record, p.recorded = match, make(chan Exchange, 1)
	return p.recorded
}

// Release ends the connections of faults with Hold. If deliver is true, the server first
// receives what they hold.
func (p *Proxy) Release(deliver bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver = deliver
	close(p.release)
	p.release = make(chan struct{})
}

// Move connects later clients to another server.
func (p *Proxy) Move(server string) { p.server.Store(&server) }

// Cuts returns the number of requests to which a fault has happened.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *Proxy) decide(r Request) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed == nil {
		return nil
	}
	return p.armed(r)
}

// happened counts a fault.
func (p *Proxy) happened(f *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts++
	if p.applied != nil {
		p.applied(f)
	}
}

func (p *Proxy) ended(e Exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.record != nil && p.record(e.Request) {
		p.recorded <- e
		p.record = nil
	}
}
