package daemon

import (
	"crypto/tls"
	"regexp"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// TestCollections: handshakes cause few garbage collections, unless the environment sets GOGC.
func TestCollections(t *testing.T) {
	for _, tt := range []struct {
		name        string
		env         []string
		least, most int // collections during 600 handshakes
	}{
		{"default", nil, 0, 4},
		{"GOGC", []string{"GOGC=100"}, 5, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			certificate := test.NewCertificate(t, test.PublicDir(t), "mx.example.com")
			d := shared.Daemon(t, map[string]string{"GSMTP_PRV_KEY": certificate.KeyFile, "GSMTP_PUB_KEY": certificate.CertFile, "GM_SAVE_MAIL": "discard"})
			d.Chown(t, certificate.KeyFile)
			d.Env = append(d.Env, "GODEBUG=gctrace=1")
			d.Env = append(d.Env, tt.env...)
			d.Start(t)
			collections := func() int {
				return len(regexp.MustCompile(`(?m)^gc \d+ @`).FindAllString(d.Process().Output(), -1))
			}
			before := collections()
			for range 600 {
				c, err := client.Connect(d.Addr, 10*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
			if n := collections() - before; n < tt.least || n > tt.most {
				t.Errorf("%d collections, want %d to %d", n, tt.least, tt.most)
			}
		})
	}
}
