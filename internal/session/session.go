// Package session is one client's SMTP conversation as a state machine: bytes
// in, replies and wishes out. It knows no socket, no clock and no goroutine,
// so an event loop, a TLS connection and a table test can all drive it.
//
// A driver does this, one call at a time:
//
//	out = s.Greet(out)
//	for each read:
//		if space := s.Space(); space != nil {   // text: straight into the message
//			n := read(space)
//			rest, out = s.Filled(n, out)         // rest: bytes behind the end of the text
//		} else {
//			n := read(scratch)
//			used, out = s.Feed(scratch[:n], out) // keep scratch[used:n], feed it again with what follows
//		}
//		write(out), then look at s.Wish()
//
// Bytes that the driver has kept are fed before anything more is read, also
// when Space has become non-nil meanwhile. What Feed leaves while the session
// wishes for input is at most MaxLine bytes.
//
// Replies are appended to out, so that a pipelined group costs one write. A
// session that wishes for something consumes nothing until the wish is
// answered by Saved, Checked, Room or TLSStarted.
//
// The protocol is RFC 5321 with these extensions: SIZE (RFC 1870), PIPELINING
// (RFC 2920), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), CHUNKING and
// BINARYMIME (RFC 3030), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207),
// REQUIRETLS (RFC 8689) and LIMITS (RFC 9422); for trusted proxies, Postfix's
// XCLIENT.
package session

import (
	"log/slog"
	"net/netip"
	"time"

	"goguerrillad/internal/smtp"
)

// A Wish is what a session needs from its driver before it can go on.
type Wish uint8

const (
	WishInput     Wish = iota // more bytes from the client
	WishRoom                  // memory for the message: try again by Room
	WishRecipient             // whether a recipient is one: call Check, answer by Checked
	WishSave                  // Envelope() is to be committed: answer by Saved
	WishStartTLS              // after the replies are written, shake hands: answer by TLSStarted
	WishClose                 // after the replies are written, close the connection
)

// Memory hands out message buffers under one budget for the whole process.
// Its methods never block.
type Memory interface {
	// Grow returns a buffer of capacity n or more that starts with the bytes
	// of buf, whose storage it takes back, or false when the budget is used
	// up; then buf is unchanged and the session wishes for room.
	Grow(buf []byte, n int) ([]byte, bool)
	// Release takes a buffer back. Release(nil) does nothing.
	Release(buf []byte)
}

// Recipients knows who receives. Its methods never block.
type Recipients interface {
	// Known returns what is known of an address at once: nil, or the refusal.
	Known(address string) (refusal *smtp.Reply, ok bool)
	// Ask finds it out, and calls done once, from any goroutine, within a few
	// seconds.
	Ask(address string, done func(refusal *smtp.Reply))
}

// Settings is the part of the configuration that a session obeys. It is
// immutable; a session takes the current one when a transaction begins.
type Settings struct {
	HostName    string                                 // in the greeting and in Received
	PrimaryHost string                                 // the domain of a bare postmaster
	Hosts       interface{ Match(domain string) bool } // domains that receive
	MaxSize     int64                                  // bytes of one message
	Timeout     time.Duration                          // for one command, and the window over which DATA's rate is averaged
	StartTLS    bool                                   // a certificate is there
	Verbose     bool                                   // log the dialogue
	// Trusted are the peers that may speak for a client, by XCLIENT or by a
	// PROXY header; an address that is not valid stands for a unix socket. It
	// is nil when there are none.
	Trusted interface{ Match(peer netip.Addr) bool }
	// Fits says whether the store's columns take a recipient whole: nil, or
	// the refusal. It is nil when every recipient fits.
	Fits func(address string) *smtp.Reply
	// Recipients decides on those of our domains; nil when all of them receive.
	Recipients Recipients
}

// World is what all sessions of a server share.
type World struct {
	Settings func() *Settings // the current settings; cheap
	Now      func() time.Time // with a monotonic clock reading, as time.Now returns it
	NewHash  func() string    // 32 lower-case hexadecimal digits, unguessable
	Log      *slog.Logger
	Repeats  *Repeats // nil: each refusal has its line
	// Replied, if not nil, receives every reply.
	Replied func(smtp.Reply)
	// Sessions returns how many there are now, for a trusted proxy's choice
	// among servers. It may be nil.
	Sessions func() int64
}

// Limits of one session.
const (
	MaxLine       = 4096 // bytes of a command line with CR LF that has the parameter SMTPUTF8
	maxPlainLine  = 2048 // bytes of any other command line with CR LF
	maxRecipients = 100  // of one message, RFC 5321 section 4.5.3.1.8
	maxErrors     = 20   // syntax, order and unknown verbs
	maxRefused    = 500  // recipients
	maxName       = 255  // bytes kept of the name given with HELO, as long as a domain can be
	minRate       = 100  // bytes of text a second, averaged over Settings.Timeout
	firstRoom     = 8 << 10
	growth        = 4 // factor by which a message's buffer grows
	slack         = 8 // bytes of a buffer beyond its text, so that the final dot needs no growth
)

// state says what the next bytes of the client are.
type state uint8

const (
	inCommand   state = iota // a command line
	inText                   // text behind DATA, to be stored
	inChunk                  // a chunk behind BDAT, to be stored
	inVoidText               // text behind DATA that is read to its end and thrown away
	inVoidChunk              // the same of a chunk
)

// A Session is one client's conversation. Between transactions it holds no
// buffer and a few hundred bytes. Its methods are called by one goroutine at
// a time.
type Session struct {
	world    *World
	memory   Memory
	settings *Settings
	tx       *transaction // nil between transactions
	id       string
	name     string         // given with HELO or EHLO
	tls      string         // protocol version and cipher suite, ours or the proxy's, "" in clear
	login    string         // of the client at a proxy, "" when there is none
	socket   netip.AddrPort // the peer, which alone decides on trust
	client   netip.AddrPort // the same, or whom a trusted proxy speaks for
	move     func(netip.Addr) *smtp.Reply

	turns   uint64
	since   time.Time  // start of the window in which the rate of a text is measured
	arrived int64      // bytes of text since then
	void    int64      // inVoidChunk: bytes still to come
	verdict smtp.Reply // inVoidText, inVoidChunk: what is answered at the end

	errors  uint16 // of maxErrors
	refused uint16 // of maxRefused
	state   state
	wish    Wish

	greeted   bool // by HELO or EHLO
	extended  bool // by EHLO
	secure    bool // inside TLS of ours
	spokenFor bool // a proxy has said who the client is, and can say it no more
	forging   bool // an XCLIENT was refused: the log has been told
	spoken    bool // a command line came
	long      bool // in a command line beyond its limit
	bareLF    bool // in a command line that had an LF without CR
	lostChunk bool // a chunk of the last transaction failed: the client may have sent more of them
	draining  bool // close after the transaction
	gone      bool // the connection is
	quitting  bool // QUIT was received
}

// New returns the session of a client that has just connected. The id is in
// each log line of the session.
func New(w *World, m Memory, id string, peer netip.AddrPort) *Session {
	return &Session{world: w, memory: m, settings: w.Settings(), id: id, socket: peer, client: peer}
}

// OnMove sets what is asked when a trusted proxy says who the client is: its
// address counts from then on. A refusal ends the session.
func (s *Session) OnMove(move func(netip.Addr) *smtp.Reply) { s.move = move }

// Introduce says what a PROXY header told, before Greet: whom the proxy speaks
// for (not valid when it does not know), and the TLS between the two, "" for
// none. Nothing more is believed of this peer in this session. A refusal is
// given in place of the greeting, and the session ends.
func (s *Session) Introduce(client netip.AddrPort, tls string) (refusal *smtp.Reply) {
	s.client, s.tls, s.spokenFor = client, tls, true
	if s.move == nil {
		return nil
	}
	return s.move(client.Addr())
}

// Greet appends the greeting.
func (s *Session) Greet(out []byte) []byte {
	return s.say(out, s.greeting())
}

func (s *Session) greeting() smtp.Reply {
	return smtp.ReplyGreeting(s.settings.HostName)
}

// Wish returns what the session needs to go on.
func (s *Session) Wish() Wish { return s.wish }

// QuitReceived reports whether the client has sent QUIT, so that it expects the
// server to close the connection.
func (s *Session) QuitReceived() bool { return s.quitting }

// Turns counts what gives the client a new deadline: commands completed, texts
// ended, and wishes answered.
func (s *Session) Turns() uint64 { return s.turns }

// Idle reports whether the session is between transactions, waiting for a
// command.
func (s *Session) Idle() bool {
	return s.tx == nil && s.state == inCommand && s.wish == WishInput
}
