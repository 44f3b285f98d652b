package servers

import (
	"net"
	"sync"
	"time"

	"goguerrillad/internal/test"
)

// A Snip is what a Wire does to the bytes that come next, in one direction.
type Snip struct {
	Back  bool          // towards the client
	After int           // bytes that pass first
	Delay time.Duration // waited for before each piece that follows
	Hang  bool          // what follows is swallowed for good, and the connection stays open
	Reset bool          // the connection ends with a reset instead of a FIN
}

// A Wire passes bytes between clients and a server, whatever they say, and
// harms them at any byte. Without Delay and Hang, a Snip ends the connection
// that carries the byte, once; Delay and Hang last for all connections until
// Mend.
type Wire struct {
	Addr string // 127.0.0.1:port

	server string

	mu   sync.Mutex
	snip *Snip
	cuts int
}

// StartWire starts one before the server at a TCP address.
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

// Snip arms the wire.
func (w *Wire) Snip(s Snip) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snip = &s
}

// Mend disarms it.
func (w *Wire) Mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snip = nil
}

// Cuts returns how many connections it has ended.
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

// pass passes bytes on until an end.
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
			continue // what comes behind a gap would be no stream any more
		}
		kept, s := w.harm(n, back)
		time.Sleep(s.Delay) // what is tested is a network that is slow
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

// harm decides on the next n bytes of a direction: how many pass, and what
// becomes of the connection where that is not all.
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
