package session_test

import (
	"io"
	"os"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/test/dialogue"
)

// TestDialogues holds every dialogue in the ways that bytes can arrive.
func TestDialogues(t *testing.T) {
	scripts, err := dialogue.Load(os.DirFS("testdata"))
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(*client){
		"whole":     func(*client) {},
		"fed":       func(c *client) { c.feedOnly = true },
		"bytes":     func(c *client) { c.sizes = func() int { return 1 } },
		"bytes-fed": func(c *client) { c.feedOnly, c.sizes = true, func() int { return 1 } },
	}
	for _, script := range scripts {
		for name, way := range ways {
			t.Run(script.Name+"/"+name, func(t *testing.T) {
				if script.Settings.Clear {
					hold(t, script, way, false)
				}
				if script.Settings.TLS {
					hold(t, script, way, true)
				}
			})
		}
	}
}

func hold(t *testing.T, script *dialogue.Script, way func(*client), inside bool) {
	t.Helper()
	c := newClient(t, script.Settings.Session())
	way(c)
	c.store = func(*envelope.Envelope) error { return script.Settings.StoreError() }
	script.Run(t, c, dialogue.Options{
		StartTLS: func(conn io.ReadWriter) (io.ReadWriter, error) {
			c.s.TLSStarted("TLS1.3 TLS_AES_128_GCM_SHA256")
			return conn, nil
		},
		Inside: inside,
		Stored: func() []dialogue.Message { return c.stored },
	})
	c.end()
}
