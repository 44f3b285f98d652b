package smtpd_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestHeap: handshakes of short sessions cause few garbage collections, unless the memory limit is
// low. After the handshakes, the memory returns to the system.
func TestHeap(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates memory")
	}
	t.Setenv("GODEBUG", "gctrace=1") // of the processes that are measured
	const handshakes = 2000
	for _, tt := range []struct {
		limit       string // GOMEMLIMIT
		least, most int    // collections
	}{
		{"off", 1, 25},
		{"120MiB", 30, handshakes}, // 37 without the ballast
	} {
		t.Run(tt.limit, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", tt.limit)
			d := startDaemon(t, daemonSettings{MaxClients: 100, MaxSize: 1 << 20, Memory: 8 << 20})
			for range handshakes {
				c := d.client(t)
				c.startTLS()
				c.cmd("QUIT", "221")
				c.Close()
			}
			collections := 0
			for _, line := range regexp.MustCompile(`(?m)^gc \d+ @.*$`).FindAllString(d.process.Output(), -1) {
				if !strings.Contains(line, "(forced)") {
					collections++
				}
			}
			if collections < tt.least || collections > tt.most {
				t.Errorf("%d collections during %d handshakes, want %d to %d", collections, handshakes, tt.least, tt.most)
			}
			if tt.limit != "off" {
				return // the heap stays small
			}
			test.Await(t, d.process, 10*time.Second, "waiting for the return of memory", func() error {
				if peak, now := d.status("VmHWM"), d.status("VmRSS"); now > peak-5<<10 {
					return fmt.Errorf("%d KiB, want 5 MiB less than the %d KiB before", now, peak)
				}
				return nil
			})
		})
	}
}
