package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/config"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/stores"
)

// TestIsOutage: only ErrUnavailable without ErrUnknown is an outage.
func TestIsOutage(t *testing.T) {
	for err, want := range map[error]bool{
		savemail.ErrUnavailable: true, fmt.Errorf("store: %w", savemail.ErrUnavailable): true,
		savemail.ErrUnknown: false, errors.Join(savemail.ErrUnavailable, savemail.ErrUnknown): false, errors.New("other"): false,
	} {
		if isOutage(err) != want {
			t.Errorf("isOutage(%v) is %v, want %v", err, !want, want)
		}
	}
}

// TestStatusLine: the status has the state of the store and the recipient query, and the
// right plural.
func TestStatusLine(t *testing.T) {
	since, refused := time.Unix(1700000000, 0), errors.New("connection refused")
	for want, s := range map[string]struct {
		sessions int64
		messages uint64
		store    commit.Health
		query    error
	}{
		"0 sessions, 0 messages stored, store not checked yet": {},
		"1 session, 2 messages stored, store not checked yet":  {1, 2, commit.Health{Up: true}, nil},
		"2 sessions, 1 message stored, store up":               {2, 1, commit.Health{Checked: true, Up: true, Last: refused}, nil},
		"0 sessions, 0 messages stored, store down since 2023-11-14 22:13:20 UTC, messages wait: connection refused": {
			0, 0, commit.Health{Checked: true, Since: since, Last: fmt.Errorf("%w: %w", savemail.ErrUnavailable, refused)}, nil},
		"0 sessions, 0 messages stored, store full since 2023-11-14 22:13:20 UTC, replying 452: 1 bytes free, less than GM_MIN_FREE, which is 2": {
			0, 0, commit.Health{Checked: true, Full: true, Refusing: true, Since: since, Last: &savemail.FullError{Free: 1, Min: 2}}, nil},
		"0 sessions, 0 messages stored, store down since 2023-11-14 22:13:20 UTC, replying 451: connection refused; the last GM_RECIPIENT_QUERY failed: connection refused": {
			0, 0, commit.Health{Checked: true, Refusing: true, Since: since, Last: refused}, refused},
	} {
		if got := statusLine(s.sessions, s.messages, s.store, s.query); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestAuthBackends: the daemon checks the servers of NGINX_AUTH_BACKENDS only while
// auth_http has a socket.
func TestAuthBackends(t *testing.T) {
	d := &daemon{cfg: &stores.Configuration{Config: &config.Config{}}}
	d.cfg.AuthHTTP.Backends = make([]netip.AddrPort, 2)
	for n, want := range []int{0, 2, 2} {
		if got := len(d.authSettings(make([]listen.Socket, n)).Backends); got != want {
			t.Errorf("%d sockets: %d backends, want %d", n, got, want)
		}
	}
}
