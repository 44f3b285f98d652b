package metrics

import (
	"slices"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/smtpd"
)

// Sources are the functions that return the current figures. They are called from
// any goroutine.
type Sources struct {
	Version, Commit string
	Server          func() smtpd.Stats
	Committer       func() commit.Counters
	Recipients      func() recipient.Stats
	Health          func() commit.Health
	Full            func() bool // whether the client limit is reached
	Config          func() Config
	Retention       func() Retention // nil if the daemon never deletes messages
	Space           func() Space     // nil if no store has local files
}

// Config holds the values of the configuration that the metrics contain.
type Config struct {
	Host         string // name of the server, GSMTP_HOST_NAME
	MaxClients   int    // SMTP sessions
	Memory       int64  // bytes, GSMTP_MEMORY
	Store        string // GM_SAVE_MAIL
	Certificates []Certificate
	RedisUp      func() bool // nil without Redis
}

// A Certificate is one of the server's.
type Certificate struct {
	Name string // its main name
	Key  string // algorithm, such as ECDSA
	Ends time.Time
}

// certificates returns the certificates with different names or keys: of the same, the one
// that ends first.
func (c Config) certificates() (list []Certificate) {
	for _, cert := range c.Certificates {
		i := slices.IndexFunc(list, func(other Certificate) bool { return other.Name == cert.Name && other.Key == cert.Key })
		if i < 0 {
			list = append(list, cert)
		} else if cert.Ends.Before(list[i].Ends) {
			list[i] = cert
		}
	}
	return list
}

// Retention is the state of the deletion of old messages.
type Retention struct {
	Keep    time.Duration // how long messages are kept; 0 = for ever
	Deleted uint64        // rows or files since the start
	Oldest  time.Time     // date of the oldest message; the zero value = unknown
	Err     string        // why the last deletion failed, or ""
}

// Space is the free space on the file system of the store.
type Space struct {
	Known     bool   // the store has local files, and the free space could be read
	Full      bool   // messages receive 452
	Free, Min uint64 // bytes
}

// low reports whether the space will soon be full.
func (s Space) low() bool { return s.Known && !s.Full && s.Free < 4*s.Min }

func (s Sources) retention() Retention {
	if s.Retention == nil {
		return Retention{}
	}
	return s.Retention()
}

func (s Sources) space() Space {
	if s.Space == nil {
		return Space{}
	}
	return s.Space()
}
