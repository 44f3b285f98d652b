// Package envelope holds the result of one SMTP transaction: the sender, the
// recipients, the message, and the header fields that the daemon adds to it.
package envelope

import (
	"net/netip"
	"time"

	"goguerrillad/internal/mailinfo"
)

// An Envelope is one complete message that is waiting for its commit. It belongs
// to the session until it is submitted, then to the Committer until the outcome is
// reported, and then to the session again, which releases the message's buffer.
type Envelope struct {
	Session  string         // id of the session, for the log
	Remote   netip.AddrPort // the client, or the address that a trusted proxy reported
	Helo     string         // name in HELO or EHLO, "" if there is none
	Protocol string         // RFC 3848 and RFC 6531 keyword of the Received field: SMTP, ESMTP, ESMTPS, UTF8SMTPS, ...
	TLS      string         // protocol version and cipher suite, "" without TLS
	Login    string         // of the client at a trusted proxy, "" if none was reported
	Proxy    string         // address of the trusted proxy that reported the client, "unix" for a unix socket, "" without a proxy
	Host     string         // the daemon's host name, for the Received field
	From     string         // reverse-path without brackets, "" for the null sender
	To       []Recipient    // at least one; each recipient is a row
	// Refused are the recipients that another program refused after it had received the
	// message for the others; a store moves them from To.
	Refused []Recipient
	Date    time.Time // when the message was complete

	// Info is set by the Committer before the store receives the envelope.
	Info mailinfo.Info

	buf  []byte // room, then the message as it arrived
	room int    // free bytes at the start of buf for the added header fields
}

// A Recipient is one accepted forward-path and the hash of its row.
type Recipient struct {
	Address string // the mailbox as the client gave it
	Hash    string // 32 lower-case hexadecimal digits, unique and unguessable
	InRedis bool   // Redis holds the message under the hash, so the row does not need it
}

// SetMessage sets the message: buf[room:] is the text, dot-unstuffed and without
// the final dot. Blob needs no copy if room is at least HeadRoom.
func (e *Envelope) SetMessage(buf []byte, room int) { e.buf, e.room = buf, room }

// Client returns the client's address without port and zone. It is invalid for a client
// on a unix socket, or if a proxy does not know it.
func (e *Envelope) Client() netip.Addr { return e.Remote.Addr().Unmap().WithZone("") }

// Message returns the text as it arrived.
func (e *Envelope) Message() []byte { return e.buf[e.room:] }

// Size returns the bytes of the text as it arrived.
func (e *Envelope) Size() int { return len(e.buf) - e.room }

// Blob returns the added header fields of recipient i and the message as one
// slice. It writes the fields into the room in front of the text and does not copy
// the text. The slice is valid until Blob is called again or the buffer is released.
func (e *Envelope) Blob(i int) []byte {
	head := e.appendHead(e.buf[:0:e.room], i)
	if len(head) > e.room { // append has copied head to a new array
		return append(head, e.Message()...)
	}
	start := e.room - len(head)
	copy(e.buf[start:], head)
	return e.buf[start:]
}

// AppendBlob appends the bytes that Blob returns, and does not change the message's
// buffer.
func (e *Envelope) AppendBlob(dst []byte, i int) []byte {
	return append(e.appendHead(dst, i), e.Message()...)
}

// BlobSize returns the length of the slice that Blob returns, in bytes.
func (e *Envelope) BlobSize(i int) int {
	var scratch [2048]byte // enough for most fields without an allocation
	return len(e.appendHead(scratch[:0], i)) + e.Size()
}
