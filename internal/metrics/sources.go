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
	Retention       func() commit.Retention
	Space           func() commit.Space
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

// low reports whether the space will soon be full.
func low(s commit.Space) bool { return s.Known && !s.Full && s.Free < 4*s.Min }
