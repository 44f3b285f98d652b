// Package envelope holds the result of one SMTP transaction: who sent what to
// whom, the bytes of the message, and the header lines that we put in front.
package envelope

import (
	"net/netip"
	"time"

	"goguerrillad/internal/mailinfo"
)

// An Envelope is one message that a client has handed over completely,
// waiting to be committed. It belongs to the session until it is submitted,
// then to the saver until the outcome is reported, then to the session again,
// which gives the message's buffer back.
type Envelope struct {
	Session  string         // id of the session, for the log
	Remote   netip.AddrPort // the client, or what a trusted proxy said it is
	Helo     string         // name the client gave, "" when it gave none
	Protocol string         // RFC 3848 and RFC 6531 keyword of the Received field: SMTP, ESMTP, ESMTPS, UTF8SMTPS, ...
	TLS      string         // protocol version and cipher suite, "" in clear
	Host     string         // our own name, for the Received field
	From     string         // reverse-path without brackets, "" for the null sender
	To       []Recipient    // at least one, each a row of its own
	Date     time.Time      // when the message was complete

	// Info is filled in by the saver, before the store sees the envelope.
	Info mailinfo.Info

	buf  []byte // head room, then the message as it arrived
	room int    // bytes of buf that are kept free for the added header lines
}

// A Recipient is one accepted forward-path and the identity of its row.
type Recipient struct {
	Address string // the mailbox, whole, as the client gave it
	Hash    string // 32 lower-case hexadecimal digits, unique and unguessable
	InRedis bool   // the saver has put the message there under the hash, and its row need not hold it
}

// SetMessage hands the message over: buf[room:] is the text, dot-unstuffed and
// without the final dot; the room in front is at least HeadRoom bytes.
func (e *Envelope) SetMessage(buf []byte, room int) { e.buf, e.room = buf, room }

// Buffer returns what SetMessage was given, for its owner to take back.
func (e *Envelope) Buffer() []byte { return e.buf }

// Message returns the text as it arrived.
func (e *Envelope) Message() []byte { return e.buf[e.room:] }

// Size returns the bytes of the text as it arrived.
func (e *Envelope) Size() int { return len(e.buf) - e.room }

// Blob returns the row of recipient i: its added header lines and the message,
// in one piece. The lines are written into the room in front of the text, so
// that the text is not copied; the bytes are valid until Blob is called again
// or the buffer is given back.
func (e *Envelope) Blob(i int) []byte {
	head := e.appendHead(e.buf[:0:e.room], i)
	if len(head) > e.room { // less than HeadRoom was given: the text stays untouched
		return append(head, e.Message()...)
	}
	start := e.room - len(head)
	copy(e.buf[start:], head)
	return e.buf[start:]
}

// AppendBlob appends what Blob returns to dst, and leaves the buffer alone.
func (e *Envelope) AppendBlob(dst []byte, i int) []byte {
	return append(e.appendHead(dst, i), e.Message()...)
}

// BlobSize returns the length of what Blob returns, in bytes.
func (e *Envelope) BlobSize(i int) int {
	var scratch [2048]byte // holds all but absurd lines without allocating
	return len(e.appendHead(scratch[:0], i)) + e.Size()
}
