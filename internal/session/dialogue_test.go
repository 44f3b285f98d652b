package session_test

import (
	"io"
	"os"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/test/dialogue"
)

// TestDialogues runs each dialogue with whole and single bytes, with and without Space,
// in clear and inside TLS.
func TestDialogues(t *testing.T) {
	scripts, err := dialogue.Load(os.DirFS("testdata"))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]func(*client){
		"whole":     func(*client) {},
		"fed":       func(c *client) { c.feedOnly = true },
		"bytes":     func(c *client) { c.sizes = func() int { return 1 } },
		"bytes-fed": func(c *client) { c.feedOnly, c.sizes = true, func() int { return 1 } },
	}
	for _, script := range scripts {
		for name, mode := range modes {
			t.Run(script.Name+"/"+name, func(t *testing.T) {
				if script.Settings.Clear {
					runDialogue(t, script, mode, false)
				}
				if script.Settings.TLS {
					runDialogue(t, script, mode, true)
				}
			})
		}
	}
}

func runDialogue(t *testing.T, script *dialogue.Script, mode func(*client), insideTLS bool) {
	t.Helper()
	c := newClient(t, script.Settings.Session())
	mode(c)
	c.store = func(*envelope.Envelope) error { return script.Settings.StoreError() }
	script.Run(t, c, dialogue.Options{
		StartTLS: func(conn io.ReadWriter) (io.ReadWriter, error) {
			c.s.TLSStarted("TLS1.3 TLS_AES_128_GCM_SHA256")
			return conn, nil
		},
		Inside: insideTLS,
		Stored: func() []dialogue.Message { return c.stored },
	})
	c.end()
}
