// Package session implements one client's SMTP session as a state machine: it takes
// bytes and returns replies and requests. A Session uses no sockets, clocks or
// goroutines, so an event loop, a TLS connection and a test can drive it.
//
// A driver makes no concurrent calls:
//
//	out = s.Greet(out)
//	for each read:
//		if space := s.Space(); space != nil {   // text is read into the message's buffer
//			n := read(space)
//			rest, out = s.Filled(n, out)         // rest: bytes after the end of the text
//		} else {
//			n := read(scratch)
//			used, out = s.Feed(scratch[:n], out) // keep scratch[used:n] for the next Feed
//		}
//		write(out), then carry out s.Request()
//
// The driver feeds kept bytes before it reads, even if Space is not nil meanwhile.
// While the session requests input, Feed leaves at most MaxLine bytes.
//
// Replies are appended to out, so the replies to a pipelined group need one write. A
// session with a request other than RequestInput consumes nothing until the driver
// calls Saved, Checked, MemoryAvailable or TLSStarted.
//
// The protocol is RFC 5321 with these extensions: SIZE (RFC 1870), PIPELINING
// (RFC 2920), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), CHUNKING and BINARYMIME
// (RFC 3030), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207), REQUIRETLS
// (RFC 8689) and LIMITS (RFC 9422), and Postfix's XCLIENT for trusted proxies.
package session

import (
	"net/netip"
	"time"

	"goguerrillad/internal/smtp"
)

// A Request is the action that a session needs from its driver to continue.
type Request uint8

const (
	RequestInput     Request = iota // more bytes from the client: Feed or Filled
	RequestMemory                   // memory for the message: MemoryAvailable
	RequestRecipient                // the recipient must be checked: call Check, then Checked
	RequestSave                     // Envelope() must be saved: Saved
	RequestStartTLS                 // after the replies are sent, a TLS handshake: TLSStarted
	RequestClose                    // after the replies are sent, close the connection
)

// Limits of one session.
const (
	MaxLine       = 4096    // bytes of a command line with CR LF and the parameter SMTPUTF8
	maxPlainLine  = 2048    // bytes of any other command line with CR LF
	maxRecipients = 100     // of one message; RFC 5321 section 4.5.3.1.8 requires at least 100
	maxErrors     = 20      // replies for which isError returns true
	maxRefused    = 500     // recipients
	maxName       = 255     // bytes of the name in HELO; a longer name is cut
	minRate       = 100     // bytes of text per second, averaged over Settings.Timeout
	firstBuffer   = 8 << 10 // capacity in bytes if no size is declared
	growthFactor  = 4       // of a message's buffer
	slack         = 8       // free bytes after the text, so that the final dot needs no larger buffer
)

// A state is how the session interprets the next bytes of the client.
type state uint8

const (
	inCommand        state = iota // a command line
	inText                        // text after DATA, which is stored
	inChunk                       // a chunk after BDAT, which is stored
	inDiscardedText               // text after DATA, which is read to its end and discarded
	inDiscardedChunk              // a chunk after BDAT, which is read to its end and discarded
)

// A Session is the session of one client. Between transactions it holds no buffer and
// a few hundred bytes. Its methods must not be called concurrently.
type Session struct {
	environment     *Environment
	memory          Memory
	settings        *Settings
	tx              *transaction // nil between transactions
	id              string
	name            string         // in HELO or EHLO
	tls             string         // protocol version and cipher suite of our TLS or of the proxy's; "" without TLS
	login           string         // of the client at a proxy; "" without a login
	peer            netip.AddrPort // of the socket; decides whether the client may use XCLIENT
	client          netip.AddrPort // peer, or the client that a trusted proxy reports
	onClientAddress func(netip.Addr) *smtp.Reply

	progress     uint64
	windowStart  time.Time  // of the measurement of minRate
	windowBytes  int64      // bytes of text since windowStart
	discardBytes int64      // in state inDiscardedChunk: bytes still to arrive
	discardReply smtp.Reply // in the states that discard: the reply at the end

	errors  uint16 // replies that count towards maxErrors
	refused uint16 // recipients that count towards maxRefused
	state   state
	request Request

	helloReceived  bool // HELO or EHLO
	extended       bool // EHLO
	inTLS          bool // after STARTTLS
	clientReported bool // a proxy has reported the client and must not report another client
	xclientLogged  bool // the log has the refusal of an XCLIENT
	lineReceived   bool // at least one command line
	longLine       bool // in a command line that exceeds its limit
	bareLF         bool // in a command line after an LF without CR
	chunkFailed    bool // the last transaction lost a chunk; the client may have sent more chunks
	draining       bool // the session ends when it is idle
	aborted        bool // the connection is lost
	quitReceived   bool
}

// New returns the session of a new client. Each log line of the session contains id.
func New(e *Environment, m Memory, id string, peer netip.AddrPort) *Session {
	return &Session{environment: e, memory: m, settings: e.Settings(), id: id, peer: peer, client: peer}
}

// OnClientAddress sets a function that is called with the client's address that a
// trusted proxy reports. If it returns a refusal, the session ends.
func (s *Session) OnClientAddress(f func(netip.Addr) *smtp.Reply) { s.onClientAddress = f }

// SetClient sets the values of a PROXY header: the client, invalid if the proxy does not
// know it, and the TLS between client and proxy, "" without TLS. The driver calls it
// before Greet, and sends a refusal instead of the greeting. XCLIENT is refused afterwards.
func (s *Session) SetClient(client netip.AddrPort, tls string) (refusal *smtp.Reply) {
	s.client, s.tls, s.clientReported = client, tls, true
	if s.onClientAddress == nil {
		return nil
	}
	return s.onClientAddress(client.Addr())
}

// Greet appends the greeting.
func (s *Session) Greet(out []byte) []byte {
	return s.appendReply(out, s.greeting())
}

func (s *Session) greeting() smtp.Reply { return smtp.ReplyGreeting(s.settings.HostName) }

// Request returns the current request.
func (s *Session) Request() Request { return s.request }

// Progress counts the events that renew the client's deadline: completed commands and
// texts, and requests that the driver has answered.
func (s *Session) Progress() uint64 { return s.progress }

// QuitReceived reports whether the client has sent QUIT.
func (s *Session) QuitReceived() bool { return s.quitReceived }

// Idle reports whether the session is between transactions and waits for a command.
func (s *Session) Idle() bool {
	return s.tx == nil && s.state == inCommand && s.request == RequestInput
}
