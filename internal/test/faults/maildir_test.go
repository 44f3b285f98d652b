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

// TestFaultsMaildir breaks what a daemon stands on that stores in files. Of a
// mail that was not acknowledged, a crash may leave some recipients' files.
func TestFaultsMaildir(t *testing.T) {
	d := shared.Daemon(t, nil)
	disk := servers.NewDisk(t, 256)
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, map[string]string{
		"GM_SAVE_MAIL": "maildir", "GM_MAILDIR": filepath.Join(disk.Dir, "Maildir"),
		"GSMTP_TIMEOUT": "30", "GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
	})
	fewDescriptors(d)
	d.Start(t)
	w := &world{whole: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, maildir: d.Keys["GM_MAILDIR"]}
	w.startLoad(t)
	w.run(t, slices.Concat(w.ofDaemon(d, cert), []fault{
		{
			name: "disk of the Maildir full", subject: "disk", times: 20, alone: true,
			ail: func(t *testing.T) {
				disk.Fill(t)
				w.load.AwaitRefusal(t)
			},
			hold: func() time.Duration { return between(w.rand, 0, time.Second) },
			mend: func(t *testing.T) { disk.Empty(t) },
		},
		{
			name: "disk of the Maildir read-only", subject: "disk", times: 20, alone: true,
			ail: func(t *testing.T) {
				disk.Fail(t)
				w.load.AwaitRefusal(t)
			},
			mend: func(t *testing.T) { disk.Repair(t) },
		},
	}))
}
