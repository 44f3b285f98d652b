package servers

import (
	"net"
	"sync"
	"time"

	"goguerrillad/internal/test"
)

// A TCPFault is what a TCPProxy does to the bytes of one direction. With neither Delay nor
// Hang it ends the connection.
type TCPFault struct {
	ToClient bool          // the bytes from the server to the client; false = to the server
	After    int           // bytes forwarded before the fault
	Delay    time.Duration // delay of each later chunk
	Hang     bool          // discard all later bytes, and keep the connection open
	Reset    bool          // end the connection with a reset instead of a FIN
}

// A TCPProxy is a TCP proxy that can fail at any byte. A fault without Delay and Hang ends
// only the connection that transfers the byte. Delay and Hang apply to all connections
// until Clear.
type TCPProxy struct {
	Addr string // 127.0.0.1:port

	server string

	mu    sync.Mutex
	fault *TCPFault
	cuts  int
}

// StartTCPProxy starts a proxy for the server at a TCP address.
func StartTCPProxy(t test.T, server string) *TCPProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	p := &TCPProxy{Addr: l.Addr().String(), server: server}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

// Inject starts a fault.
func (p *TCPProxy) Inject(f TCPFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = &f
}

// Clear ends the fault.
func (p *TCPProxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = nil
}

// Cuts returns the number of connections that the proxy has ended.
func (p *TCPProxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *TCPProxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", p.server, time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	var directions sync.WaitGroup
	directions.Go(func() { p.pass(server, client, true) })
	directions.Go(func() { p.pass(client, server, false) })
	directions.Wait()
}

// pass forwards bytes until one side ends.
func (p *TCPProxy) pass(from, to net.Conn, toClient bool) {
	defer from.Close()
	defer to.Close()
	chunk := make([]byte, 32<<10)
	for discard := false; ; {
		n, err := from.Read(chunk)
		if err != nil {
			return
		}
		if discard {
			continue // the stream would have a gap
		}
		passed, f := p.apply(n, toClient)
		time.Sleep(f.Delay) // simulates a slow network
		if _, err := to.Write(chunk[:passed]); err != nil {
			return
		}
		switch {
		case passed == n:
		case f.Hang:
			discard = true
		default:
			if f.Reset {
				for _, c := range []net.Conn{from, to} {
					c.(*net.TCPConn).SetLinger(0)
				}
			}
			return
		}
	}
}

// apply returns how many of the next n bytes of a direction pass, and the fault if not all
// of them pass or if they are delayed.
func (p *TCPProxy) apply(n int, toClient bool) (passed int, _ TCPFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fault
	switch {
	case f == nil || f.ToClient != toClient:
		return n, TCPFault{}
	case f.After >= n:
		f.After -= n
		return n, TCPFault{}
	case f.Delay > 0:
		f.After = 0
		return n, *f
	}
	passed, f.After = f.After, 0
	if !f.Hang {
		p.fault = nil
		p.cuts++
	}
	return passed, *f
}
