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

// TestIsOutage: an error that concerns every message is logged once. A message whose
// outcome is unknown has its own line.
func TestIsOutage(t *testing.T) {
	for err, want := range map[error]bool{
		savemail.ErrUnavailable: true, fmt.Errorf("store: %w", savemail.ErrUnavailable): true,
		savemail.ErrUnknown: false, errors.Join(savemail.ErrUnavailable, savemail.ErrUnknown): false, errors.New("other"): false,
	} {
		if isOutage(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

// TestAuthBackends: the daemon watches the servers of the list only while auth_http
// has a socket.
func TestAuthBackends(t *testing.T) {
	d := &daemon{cfg: &stores.Configuration{Config: &config.Config{}}}
	d.cfg.AuthHTTP.Backends = make([]netip.AddrPort, 2)
	for n, want := range []int{0, 2, 2} {
		if got := len(d.authSettings(make([]listen.Socket, n)).Backends); got != want {
			t.Errorf("%d sockets: %d servers, want %d", n, got, want)
		}
	}
}
