package faults

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// TestFaultsMaildir applies the faults of a daemon with a Maildir. A crash may leave the
// files of some recipients of a message that was not acknowledged.
func TestFaultsMaildir(t *testing.T) {
	d := shared.Daemon(t, nil)
	disk := servers.NewDisk(t, 256)
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, map[string]string{
		"GM_SAVE_MAIL": "maildir", "GM_MAILDIR": filepath.Join(disk.Dir, "Maildir"), "GM_MIN_FREE": "0",
		"GSMTP_TIMEOUT": "30", "GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
	})
	fewDescriptors(d)
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, maildir: d.Keys["GM_MAILDIR"]}
	w.startLoad(t)
	w.run(t, slices.Concat(w.daemonFaults(d, cert), []fault{
		{
			name: "disk of the Maildir full", subject: "disk", times: 20, exclusive: true,
			start: func(t *testing.T) {
				disk.Fill(t)
				w.load.AwaitRefusal(t)
			},
			duration: func() time.Duration { return between(w.rand, 0, time.Second) },
			end:      func(t *testing.T) { disk.Empty(t) },
		},
		{
			name: "disk of the Maildir read-only", subject: "disk", times: 20, exclusive: true,
			start: func(t *testing.T) {
				disk.Fail(t)
				w.load.AwaitRefusal(t)
			},
			end: func(t *testing.T) { disk.Repair(t) },
		},
	}))
}
