package servers

import (
	"net"
	"sync"
	"time"

	"goguerrillad/internal/test"
)

// A Snip is what a Wire does to the next bytes of one direction.
type Snip struct {
	Back  bool          // towards the client
	After int           // bytes that pass before
	Delay time.Duration // delay of each later piece
	Hang  bool          // discard all later bytes, and keep the connection open
	Reset bool          // end the connection with a reset instead of a FIN
}

// A Wire is a TCP proxy that can fail at any byte. A Snip without Delay and Hang ends
// one connection, the one with the byte; Delay and Hang apply to all connections until
// Mend.
type Wire struct {
	Addr string // 127.0.0.1:port

	server string

	mu   sync.Mutex
	snip *Snip
	cuts int
}

// StartWire starts a Wire for the server at a TCP address.
func StartWire(t test.T, server string) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	w := &Wire{Addr: l.Addr().String(), server: server}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(client)
		}
	}()
	return w
}

// Snip starts a fault.
func (w *Wire) Snip(s Snip) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snip = &s
}

// Mend ends the fault.
func (w *Wire) Mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snip = nil
}

// Cuts returns the number of connections that the wire has ended.
func (w *Wire) Cuts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts
}

func (w *Wire) serve(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", w.server, time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	var ways sync.WaitGroup
	ways.Go(func() { w.pass(server, client, true) })
	ways.Go(func() { w.pass(client, server, false) })
	ways.Wait()
}

// pass forwards bytes until one side ends.
func (w *Wire) pass(from, to net.Conn, back bool) {
	defer from.Close()
	defer to.Close()
	piece := make([]byte, 32<<10)
	for swallows := false; ; {
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		if swallows {
			continue // bytes after a gap would not be a stream
		}
		kept, s := w.harm(n, back)
		time.Sleep(s.Delay) // simulates a slow network
		if _, err := to.Write(piece[:kept]); err != nil {
			return
		}
		switch {
		case kept == n:
		case s.Hang:
			swallows = true
		default:
			if s.Reset {
				for _, c := range []net.Conn{from, to} {
					c.(*net.TCPConn).SetLinger(0)
				}
			}
			return
		}
	}
}

// harm decides how many of the next n bytes of a direction pass, and what happens to
// the connection if not all of them do.
func (w *Wire) harm(n int, back bool) (kept int, _ Snip) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.snip
	switch {
	case s == nil || s.Back != back:
		return n, Snip{}
	case s.After >= n:
		s.After -= n
		return n, Snip{}
	case s.Delay > 0:
		s.After = 0
		return n, *s
	}
	kept, s.After = s.After, 0
	if !s.Hang {
		w.snip = nil
		w.cuts++
	}
	return kept, *s
}
