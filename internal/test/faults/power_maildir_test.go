package faults

import (
	"path/filepath"
	"testing"

	"goguerrillad/internal/test/load"
	"goguerrillad/internal/test/powerfs"
)

// A maildirMedium is a Maildir on the strictest file system: after a power loss, only synced
// files and names are certain to exist.
type maildirMedium struct{ evict bool }

func (m *maildirMedium) options() powerfs.Options { return powerfs.Options{Evict: m.evict} }

func (m *maildirMedium) begin(*testing.T, *powerTest)        {}
func (m *maildirMedium) abandon(*testing.T, *powerTest)      {}
func (m *maildirMedium) restartEnded(*testing.T, *powerTest) {}
func (m *maildirMedium) end()                                {}

func (m *maildirMedium) keys(p *powerTest) map[string]string {
	return map[string]string{"GM_SAVE_MAIL": "maildir", "GM_MAILDIR": filepath.Join(p.dir, "Maildir")}
}

func (m *maildirMedium) collect(t *testing.T, p *powerTest) error {
	t.Helper()
	rows, err := load.MaildirHashes(p.d.Keys["GM_MAILDIR"])
	p.load.Replace(rows)
	return err
}

func (m *maildirMedium) moments() []powerfs.Fault {
	return []powerfs.Fault{
		{Op: powerfs.Create, Match: "*/tmp/*", Nth: 200},
		{Op: powerfs.Write, Match: "*/tmp/*", Nth: 200},
		{Op: powerfs.Sync, Match: "*/tmp/*", Nth: 200},
		{Op: powerfs.Rename, Nth: 200},
		{Op: powerfs.SyncDir, Match: "new", Nth: 100},
		{Op: powerfs.SyncDir | powerfs.Mkdir, Nth: 8},
	}
}

func (m *maildirMedium) failures() []failure {
	return []failure{
		{"write", false, powerfs.Fault{Op: powerfs.Write, Nth: 50}},
		{"sync of a file", false, powerfs.Fault{Op: powerfs.Sync, Nth: 50}},
		{"sync of new", false, powerfs.Fault{Op: powerfs.SyncDir, Match: "new", Nth: 20}},
		{"sync of a parent directory", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "[Ms]*", Nth: 3}},
		{"mkdir", true, powerfs.Fault{Op: powerfs.Mkdir, Nth: 3}},
		{"rename", false, powerfs.Fault{Op: powerfs.Rename, Nth: 50}},
		{"open", false, powerfs.Fault{Op: powerfs.Open, Nth: 20}},
		{"create", false, powerfs.Fault{Op: powerfs.Create, Nth: 50}},
		{"removal", false, powerfs.Fault{Op: powerfs.Remove | powerfs.SyncDir, Nth: 1}},
		{"every change", false, powerfs.Fault{Op: powerfs.Changes, Nth: 50}},
	}
}

func maildirMedia() func() medium {
	i := 0
	return func() medium {
		i++
		return &maildirMedium{evict: i%2 == 0}
	}
}

func TestPowerLossMaildir(t *testing.T) {
	powerLoss(t, "Maildir", cuts(14, 1000), maildirMedia())
}

func TestPowerFaultsMaildir(t *testing.T) {
	powerFaults(t, "Maildir", cuts(9, 150), maildirMedia())
}
