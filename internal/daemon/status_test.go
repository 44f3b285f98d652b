package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

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
