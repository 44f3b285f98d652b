package smtpd_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestHeap: handshakes of short sessions cause few garbage collections. When the handshakes have
// ended, the garbage is collected.
func TestHeap(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates memory")
	}
	t.Setenv("GODEBUG", "gctrace=1") // of the process that is measured
	d := startDaemon(t, daemonSettings{MaxClients: 100, MaxSize: 1 << 20, Memory: 8 << 20})
	collection := regexp.MustCompile(`(?m)^gc \d+ @.*$`)
	const handshakes, most = 2000, 25 // 37 without the ballast
	for range handshakes {
		c := d.client(t)
		c.startTLS()
		c.cmd("QUIT", "221")
		c.Close()
	}
	found := collection.FindAllString(d.process.Output(), -1)
	t.Logf("%d collections", len(found))
	if len(found) > most {
		t.Errorf("%d collections during %d handshakes, want at most %d", len(found), handshakes, most)
	}
	test.Await(t, d.process, 10*time.Second, "waiting for a collection after the handshakes", func() error {
		found := collection.FindAllString(d.process.Output(), -1)
		if n := len(found); n == 0 || !strings.Contains(found[n-1], "(forced)") {
			return errors.New("none was forced")
		}
		return nil
	})
}
