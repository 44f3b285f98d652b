package pgproxy

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// All is the number of the messages of a request or a response.
const All = 1 << 30

// A Fault is what a Proxy does to one request or its response. The zero Fault ends both
// connections before the server receives the request.
type Fault struct {
	Name     string
	Request  int  // messages of the request that reach the server
	Response int  // if Request is All: messages of the response that reach the client
	Half     bool // the first half of the next message passes, too
	// Early ends the connections when the server has the request, without waiting for its
	// response. The server may still be working. With Reset it may lose the request. It is
	// not for a login.
	Early bool
	Reset bool // end both connections with a reset instead of a FIN
	// Hang discards all later bytes of the direction, so that only a timeout of the
	// client ends the wait. The server's connection ends with the client's.
	Hang bool
	// Hold is Hang by a network that may deliver later: the server's connection stays open
	// until Proxy.Release, or the end of the test, also when the client's has ended.
	Hold  bool
	Delay time.Duration // before the fault
	// Keep lets the whole response pass, after the Delay.
	Keep bool
	// Change replaces message number Response of the response. The connection goes on.
	Change func(message []byte) []byte
}

// Cuts returns all ways in which the connections can end between or in the messages of an
// exchange.
func Cuts(e Exchange) []Fault {
	var cuts []Fault
	for _, f := range boundaries(e) {
		reset := f
		reset.Name, reset.Reset = f.Name+", reset", true
		cuts = append(cuts, f, reset)
	}
	return cuts
}

// boundaries returns the faults of Cuts without Reset.
func boundaries(e Exchange) []Fault {
	var list []Fault
	n := len(e.Messages)
	for i := range n {
		name := fmt.Sprintf("%c, %d of %d of the request", e.Messages[i], i+1, n)
		list = append(list, Fault{Name: "before " + name, Request: i}, Fault{Name: "in " + name, Request: i, Half: true})
	}
	if !strings.HasPrefix(e.Messages, string(startup)) {
		list = append(list, Fault{Name: "after the request", Request: All, Early: true})
	}
	n = len(e.Response)
	for i := range n {
		name := fmt.Sprintf("%c, %d of %d of the response", e.Response[i], i+1, n)
		list = append(list, Fault{Name: "before " + name, Request: All, Response: i},
			Fault{Name: "in " + name, Request: All, Response: i, Half: true})
	}
	return append(list, Fault{Name: "after the response", Request: All, Response: All})
}

// Hangs returns the faults with Hang at all boundaries of an exchange, except after it.
func Hangs(e Exchange) []Fault {
	return silent(e, "discarded", func(f *Fault) { f.Hang = true })
}

// Holds is Hangs with Hold.
func Holds(e Exchange) []Fault {
	return silent(e, "held", func(f *Fault) { f.Hold = true })
}

func silent(e Exchange, what string, set func(f *Fault)) []Fault {
	var list []Fault
	for _, f := range boundaries(e) {
		if !f.Early && f.Response != All {
			f.Name = what + " from: " + f.Name
			set(&f)
			list = append(list, f)
		}
	}
	return list
}

// Malformed returns faults that each replace one message of the response by a malformed
// one.
func Malformed(e Exchange) []Fault {
	changes := []struct {
		name   string
		change func(m []byte) []byte
	}{
		{"unknown type", func(m []byte) []byte { m[0] = '?'; return m }},
		{"type of an error", func(m []byte) []byte { m[0] = 'E'; return m }},
		{"length 0", func(m []byte) []byte { return withLength(m, 0) }},
		{"length -1", func(m []byte) []byte { return withLength(m, -1) }},
		{"length 64 MiB", func(m []byte) []byte { return withLength(m, 64<<20) }},
		{"no body", func(m []byte) []byte { return withLength(m[:header], header-1) }},
		{"half of the body", func(m []byte) []byte {
			m = m[:header+(len(m)-header)/2]
			return withLength(m, len(m)-1)
		}},
		{"other body", func(m []byte) []byte {
			for i := range m[header:] {
				m[header+i] = 0xff
			}
			return m
		}},
	}
	var list []Fault
	for i := range len(e.Response) {
		for _, c := range changes {
			list = append(list, Fault{
				Name:    fmt.Sprintf("%s: %c, %d of %d of the response", c.name, e.Response[i], i+1, len(e.Response)),
				Request: All, Response: i, Change: c.change,
			})
		}
	}
	return list
}

// withLength sets the length of a message, which does not include the type.
func withLength(m []byte, n int) []byte {
	binary.BigEndian.PutUint32(m[1:], uint32(n))
	return m
}
