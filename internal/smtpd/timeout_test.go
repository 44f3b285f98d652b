package smtpd_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/smtpd"
)

// TestTimeout: a client that completes no command in time gets 421, even if it
// sends bytes.
func TestTimeout(t *testing.T) {
	f := start(t, func(s *setup) { s.settings.Timeout = time.Second })
	silent := f.dial()
	silent.expect("220")
	drip := f.greeted()
	busy := f.greeted()
	dripped := make(chan struct{})
	go func() { // sends one command byte by byte
		defer close(dripped)
		for {
			if _, err := io.WriteString(drip.Conn, "N"); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	busyUntil := time.Now().Add(2500 * time.Millisecond)
	for time.Now().Before(busyUntil) {
		busy.cmd("NOOP", "250")
		time.Sleep(50 * time.Millisecond)
	}
	silent.expect("421 4.4.2")
	silent.expectEnd()
	drip.expect("421 4.4.2")
	<-dripped
	busy.cmd("QUIT", "221")
	f.await("end of all sessions, 2 at a deadline", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.Expired == 2 })
}

// TestTimeoutReload: a new timeout applies to open sessions.
func TestTimeoutReload(t *testing.T) {
	f := start(t, nil)
	c := f.greeted()
	settings := *f.settings.Load()
	settings.Timeout = 100 * time.Millisecond
	f.settings.Store(&settings)
	f.server.Reload(smtpd.Settings{MaxClients: 10, Memory: 1 << 20})
	c.expect("421 4.4.2")
}

// TestNoTimeoutWhileSaving: no deadline runs while a message is being saved, and
// the whole timeout applies after that.
func TestNoTimeoutWhileSaving(t *testing.T) {
	h := newHeld()
	f := start(t, func(s *setup) {
		s.settings.Timeout = 500 * time.Millisecond
		s.save = h.save
	})
	saving, silent := f.greeted(), f.greeted()
	saving.begin()
	saving.send("text\r\n.\r\n")
	done := <-h.dones
	silent.expect("421 4.4.2") // saving has taken longer than the timeout by now
	silent.Close()
	f.await("end of the other session", func(s smtpd.Stats) bool { return s.Sessions == 1 })
	done(nil)
	saving.expect("250")
	saving.cmd("NOOP", "250")
}

// TestSlowText: a text below the minimum rate ends the session; a text above the
// rate may take any time.
func TestSlowText(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	f := start(t, func(s *setup) { s.settings.Timeout = time.Second })
	slow, fast := f.greeted(), f.greeted()
	slow.begin()
	fast.begin()
	slow.send("x")
	for range 30 {
		fast.send(strings.Repeat("x", 50) + "\r\n")
		time.Sleep(100 * time.Millisecond)
	}
	slow.expect("421 4.4.2")
	fast.cmd(".", "250")
}
