package session

import (
	"log/slog"
	"net/netip"
	"time"

	"goguerrillad/internal/smtp"
)

// Memory allocates message buffers from one budget for the whole process. Its methods
// never block.
type Memory interface {
	// Grow returns a buffer with capacity n or more that starts with the bytes of buf,
	// and releases buf. If the budget is used up, it returns buf unchanged and false;
	// then the session requests memory.
	Grow(buf []byte, n int) ([]byte, bool)
	// Release returns a buffer to the budget. Release(nil) does nothing.
	Release(buf []byte)
}

// Recipients decides which recipients exist. Its methods never block.
type Recipients interface {
	// Known returns the known answer for an address: nil if it exists, else the
	// refusal. ok is false if the answer is not known.
	Known(address string) (refusal *smtp.Reply, ok bool)
	// Ask looks an address up. It calls done once, from any goroutine, within a few
	// seconds.
	Ask(address string, done func(refusal *smtp.Reply))
}

// Settings is the part of the configuration that concerns a session. It is immutable;
// a session loads the current Settings when a transaction begins.
type Settings struct {
	HostName    string                                 // in the greeting and in Received
	PrimaryHost string                                 // the domain of a postmaster without a domain
	Hosts       interface{ Match(domain string) bool } // domains that receive
	MaxSize     int64                                  // of one message, in bytes
	Timeout     time.Duration                          // of one command; also the window over which DATA's rate is averaged
	StartTLS    bool                                   // there is a certificate
	Verbose     bool                                   // log the dialogue
	// Trusted are the peers that may report a client, by XCLIENT or by a PROXY header;
	// an invalid address means a unix socket. It is nil if no peer is trusted.
	Trusted interface{ Match(peer netip.Addr) bool }
	// Fits returns a refusal if the columns of the store cannot hold a recipient. It is
	// nil if every recipient fits.
	Fits func(address string) *smtp.Reply
	// Recipients decides which recipients in Hosts exist. It is nil if all do.
	Recipients Recipients
}

// Environment holds the functions and the settings that all sessions of a server share.
type Environment struct {
	Settings func() *Settings // returns the current settings; cheap
	Now      func() time.Time // with a monotonic clock reading, as time.Now returns it
	NewHash  func() string    // 32 lower-case hexadecimal digits, unguessable
	Log      *slog.Logger
	Repeats  *Repeats         // nil: each refusal is logged
	Replied  func(smtp.Reply) // called with each reply, if it is not nil
	Sessions func() int64     // returns the number of sessions, which EHLO reports to trusted peers; may be nil
	Full     func() bool      // reports whether the store has too little free space for messages; may be nil
}
