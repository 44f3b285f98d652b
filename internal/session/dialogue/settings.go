package dialogue

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"goguerrillad/internal/session"
)

// Settings are what a script needs of the server that it talks to:
//
//	set max-size 100000            bytes of one message, 100000 unless set
//	set hosts example.com ...      domains that receive; example.com and *.example.net unless set
//	set certificate no             STARTTLS is not offered
//	set only clear                 the script makes no sense inside TLS
//	set only tls                   the script makes sense inside TLS alone
//	set store fails                every message meets an error of the store
//	set trusted                    the client is a trusted proxy
type Settings struct {
	MaxSize     int64
	Hosts       Hosts
	Certificate bool
	Clear, TLS  bool // where the script is run
	StoreFails  bool
	Trusted     bool
}

func usual() Settings {
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
	default:
		return fmt.Errorf("unknown setting %q", line)
	}
	return nil
}

// Session returns the settings in the form that a session takes.
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
		settings.Trusted = everybody{}
	}
	return settings
}

type everybody struct{}

func (everybody) Match(netip.Addr) bool { return true }

// StoreError is what the saver answers where Settings.StoreFails is set.
func (s *Settings) StoreError() error {
	if s.StoreFails {
		return errors.New("table mail: disk full")
	}
	return nil
}

// Hosts is a list of domains that receive; "*." stands for any subdomain.
type Hosts []string

// Match reports whether the domain receives.
func (h Hosts) Match(domain string) bool {
	domain = strings.ToLower(domain)
	for _, host := range h {
		sub, any := strings.CutPrefix(host, "*")
		if host == domain || any && strings.HasSuffix(domain, sub) && len(domain) > len(sub) {
			return true
		}
	}
	return false
}
