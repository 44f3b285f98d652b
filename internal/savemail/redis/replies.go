package redis

import (
	"errors"
	"strconv"
)

// Bounds of one reply. redigo allocates what the head of a reply announces and
// follows nested arrays by recursion, so a length, or a depth, that no Redis
// sends would end the process.
const (
	replyMost = 1 << 20 // bytes of strings, for all but a message
	itemsMost = 10_000
	depthMost = 8
	headMost  = 20 // bytes of a length
)

var errReply = errors.New("the server sends a reply that Redis does not send: it is too long or malformed")

// replies checks the bytes of a server in RESP2 before redigo reads them.
type replies struct {
	most int64 // bytes of strings in one reply

	kind  byte    // of the line that is read, 0 at its beginning
	head  []byte  // what follows kind
	skip  int64   // bytes of a string and its end that are still to come
	open  []int64 // what is missing of each array around the next item
	bytes int64   // of strings in this reply
	items int64   // in this reply
}

// check returns an error if redigo must not read b.
func (r *replies) check(b []byte) error {
	for len(b) > 0 {
		if r.skip > 0 {
			n := min(r.skip, int64(len(b)))
			b = b[n:]
			if r.skip -= n; r.skip == 0 {
				r.done()
			}
			continue
		}
		c := b[0]
		b = b[1:]
		switch {
		case r.kind == 0:
			r.kind, r.head = c, r.head[:0]
		case c == '\n':
			if err := r.line(); err != nil {
				return err
			}
		case r.kind == '$' || r.kind == '*':
			if len(r.head) > headMost {
				return errReply
			}
			r.head = append(r.head, c)
		}
	}
	return nil
}

// line takes the line that is complete.
func (r *replies) line() error {
	kind := r.kind
	r.kind = 0
	if kind != '$' && kind != '*' {
		r.done()
		return nil
	}
	if len(r.head) == 0 || r.head[len(r.head)-1] != '\r' {
		return errReply
	}
	n, err := strconv.ParseInt(string(r.head[:len(r.head)-1]), 10, 64)
	switch {
	case err != nil || n < -1:
		return errReply
	case n < 0 || n == 0 && kind == '*':
		r.done()
	case kind == '$':
		if n > r.most-r.bytes {
			return errReply
		}
		r.bytes += n
		r.skip = n + int64(len("\r\n"))
	default:
		if n > itemsMost-r.items || len(r.open) == depthMost {
			return errReply
		}
		r.items += n
		r.open = append(r.open, n)
	}
	return nil
}

// done counts an item, and the arrays that it completes.
func (r *replies) done() {
	for len(r.open) > 0 {
		last := len(r.open) - 1
		if r.open[last]--; r.open[last] > 0 {
			return
		}
		r.open = r.open[:last]
	}
	r.bytes, r.items = 0, 0
}
