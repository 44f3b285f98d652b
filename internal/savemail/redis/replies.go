package redis

import (
	"errors"
	"strconv"
)

// Bounds of one reply, above anything that Redis sends here. redigo allocates the
// length that a reply announces and parses nested arrays by recursion, so a hostile
// length or depth would end the process.
const (
	maxReplyBytes   = 1 << 20 // of all strings, except if the reply is a message
	maxReplyItems   = 10_000  // of all arrays
	maxReplyDepth   = 8       // of nested arrays
	maxLengthDigits = 20      // of the length of a string or an array
)

var errReply = errors.New("malformed or oversized reply")

// A replyChecker checks the replies of a server in RESP2 before redigo parses them
// (https://redis.io/docs/latest/develop/reference/protocol-spec/).
type replyChecker struct {
	maxBytes int64 // of all strings in one reply

	kind   byte    // first byte of the current line, 0 at the start of a line
	length []byte  // the current line after kind, if kind is '$' or '*'
	skip   int64   // remaining bytes of the current string and its CR LF
	open   []int64 // remaining items of each open array, outermost first
	bytes  int64   // total length of the strings in this reply
	items  int64   // total length of the arrays in this reply
}

// check returns an error if redigo must not parse b, the next bytes from the
// server.
func (r *replyChecker) check(b []byte) error {
	for len(b) > 0 {
		if r.skip > 0 {
			n := min(r.skip, int64(len(b)))
			b = b[n:]
			if r.skip -= n; r.skip == 0 {
				r.endItem()
			}
			continue
		}
		c := b[0]
		b = b[1:]
		switch {
		case r.kind == 0:
			r.kind, r.length = c, r.length[:0]
		case c == '\n':
			if err := r.endLine(); err != nil {
				return err
			}
		case r.kind == '$' || r.kind == '*':
			if len(r.length) > maxLengthDigits {
				return errReply
			}
			r.length = append(r.length, c)
		}
	}
	return nil
}

// endLine checks the announced length, if the line has one.
func (r *replyChecker) endLine() error {
	kind := r.kind
	r.kind = 0
	if kind != '$' && kind != '*' {
		r.endItem()
		return nil
	}
	if len(r.length) == 0 || r.length[len(r.length)-1] != '\r' {
		return errReply
	}
	n, err := strconv.ParseInt(string(r.length[:len(r.length)-1]), 10, 64)
	switch {
	case err != nil || n < -1:
		return errReply
	case n < 0 || n == 0 && kind == '*':
		r.endItem()
	case kind == '$':
		if n > r.maxBytes-r.bytes {
			return errReply
		}
		r.bytes += n
		r.skip = n + int64(len("\r\n"))
	default:
		if n > maxReplyItems-r.items || len(r.open) == maxReplyDepth {
			return errReply
		}
		r.items += n
		r.open = append(r.open, n)
	}
	return nil
}

// endItem ends an item, every array that the item completes, and with the outermost
// item the reply.
func (r *replyChecker) endItem() {
	for len(r.open) > 0 {
		last := len(r.open) - 1
		if r.open[last]--; r.open[last] > 0 {
			return
		}
		r.open = r.open[:last]
	}
	r.bytes, r.items = 0, 0
}
