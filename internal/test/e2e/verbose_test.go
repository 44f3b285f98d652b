package e2e

import (
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test/client"
)

// TestVerboseReload: a reload with GSMTP_VERBOSE starts and stops the logging of the
// dialogue.
func TestVerboseReload(t *testing.T) {
	d := newDaemon(t, map[string]string{"GSMTP_VERBOSE": "N"})
	d.Start(t)
	for _, verbose := range []string{"N", "Y", "N"} {
		if !d.Reload(t, map[string]string{"GSMTP_VERBOSE": verbose}) {
			t.Fatalf("reload refused: %s", d.Log())
		}
		before := strings.Count(d.Log(), `msg="S: `)
		c := connect(t, d)
		send(t, c, "one@example.com")
		expect(t, c, 221, "2.0.0", "QUIT")
		if more := strings.Count(d.Log(), `msg="S: `) > before; more != (verbose == "Y") {
			t.Errorf("GSMTP_VERBOSE=%s: the dialogue is logged: %v\n%s", verbose, more, d.Log())
		}
		c.Close()
		if verbose == "Y" {
			c, err := client.Connect(d.Addr, 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			d.AwaitLog(t, "connection without a command", 1)
		}
	}
}
