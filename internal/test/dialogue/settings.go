package dialogue

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// Settings are the settings of the server for a script:
//
//	set max-size 100000            bytes of one message, default 100000
//	set hosts example.com ...      accepted domains, default example.com and *.example.net
//	set certificate no             STARTTLS is not offered
//	set only clear                 the script does not run inside TLS
//	set only tls                   the script runs only inside TLS
//	set store fails                the store returns an error for every message
//	set trusted                    the client is a trusted proxy
//	set recipients a@example.com ...  known recipients; all others need a query
type Settings struct {
	MaxSize     int64
	Hosts       Hosts
	Certificate bool
	Clear, TLS  bool // whether the script runs in clear and inside TLS
	StoreFails  bool
	Trusted     bool
	Recipients  Recipients // nil = all addresses
}

func defaults() Settings {
	return Settings{
		MaxSize:     100_000,
		Hosts:       Hosts{"example.com", "*.example.net"},
		Certificate: true,
		Clear:       true,
		TLS:         true,
	}
}

func (s *Settings) set(line string) (err error) {
	key, value, _ := strings.Cut(line, " ")
	switch {
	case key == "max-size":
		s.MaxSize, err = strconv.ParseInt(value, 10, 64)
		return err
	case key == "hosts":
		s.Hosts = strings.Fields(value)
	case line == "certificate no":
		s.Certificate, s.TLS = false, false
	case line == "only clear":
		s.TLS = false
	case line == "only tls":
		s.Clear = false
	case line == "store fails":
		s.StoreFails = true
	case line == "trusted":
		s.Trusted = true
	case key == "recipients":
		s.Recipients = strings.Fields(value)
	default:
		return fmt.Errorf("unknown setting %q", line)
	}
	return nil
}

// Session returns the settings of a session.
func (s *Settings) Session() *session.Settings {
	settings := &session.Settings{
		HostName:    "mx.example.com",
		PrimaryHost: "example.com",
		Hosts:       s.Hosts,
		MaxSize:     s.MaxSize,
		Timeout:     100 * time.Second,
		StartTLS:    s.Certificate,
	}
	if s.Trusted {
		settings.Trusted = anyAddress{}
	}
	if s.Recipients != nil {
		settings.Recipients = s.Recipients
	}
	return settings
}

// Recipients are the recipients that exist. An address that begins with "known" needs no
// query, and the query for an address that begins with "later" fails.
type Recipients []string

// Known implements session.Recipients.
func (r Recipients) Known(address string) (refusal *smtp.Reply, ok bool) {
	if !strings.HasPrefix(address, "known") {
		return nil, false
	}
	return r.refusal(address), true
}

// Ask implements session.Recipients.
func (r Recipients) Ask(address string, done func(*smtp.Reply)) { go done(r.refusal(address)) }

func (r Recipients) refusal(address string) *smtp.Reply {
	switch {
	case strings.HasPrefix(address, "later"):
		return &smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Later"}
	case !slices.Contains(r, address):
		return &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "Nobody"}
	}
	return nil
}

type anyAddress struct{}

func (anyAddress) Match(netip.Addr) bool { return true }

// StoreError is the outcome of every message if Settings.StoreFails is set.
func (s *Settings) StoreError() error {
	if s.StoreFails {
		return errors.New("table mail: disk full")
	}
	return nil
}

// Hosts is a list of accepted domains; "*." means any subdomain.
type Hosts []string

// Match reports whether the domain is accepted.
func (h Hosts) Match(domain string) bool {
	domain = strings.ToLower(domain)
	for _, host := range h {
		parent, wildcard := strings.CutPrefix(host, "*")
		if host == domain || wildcard && strings.HasSuffix(domain, parent) && len(domain) > len(parent) {
			return true
		}
	}
	return false
}
