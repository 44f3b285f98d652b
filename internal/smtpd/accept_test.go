package smtpd

import (
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
)

// TestAcceptError: an accept error that is not transient is counted once and pauses
// accepting.
func TestAcceptError(t *testing.T) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	s, err := New(Options{
		Environment: &session.Environment{
			Settings: func() *session.Settings { return &session.Settings{MaxSize: 1 << 20, Timeout: time.Minute} },
			Log:      slog.New(slog.DiscardHandler),
		},
		Save: func(*envelope.Envelope, func(error)) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLoop(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.closeFiles()
	l.accept(Listener{FD: socket}) // EINVAL, since the socket does not listen
	if n := s.Stats().AcceptErrors; n != 1 {
		t.Errorf("AcceptErrors is %d, want 1", n)
	}
	if l.backoff != minBackoff {
		t.Errorf("the pause is %v, want %v", l.backoff, minBackoff)
	}
}
