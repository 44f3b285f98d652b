package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinkedFileWithRecipientQuery: SQLITE_FILE is a symbolic link, and -list, -show and
// -t read the messages that a running daemon has acknowledged. The daemon accepts
// recipients again after the file was moved, and a stop removes the WAL.
func TestLinkedFileWithRecipientQuery(t *testing.T) {
	d := newDaemon(t, map[string]string{
		"GM_RECIPIENT_QUERY":         "SELECT 1 WHERE :domain='example.com' AND (SELECT count(*) FROM new_mail)>=0",
		"GM_RECIPIENT_CACHE_SECONDS": "0",
	})
	file, link := filepath.Join(d.Dir, "sub", "real.db"), filepath.Join(d.Dir, "link.db")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	d.Chown(t, filepath.Dir(file))
	d.Configure(t, map[string]string{"SQLITE_FILE": link})
	d.Start(t)
	c := connect(t, d)
	read := func(flags ...string) string {
		t.Helper()
		out, err := d.Cmd(flags...).CombinedOutput()
		if err != nil {
			t.Errorf("%q: %v, %s", flags, err, out)
		}
		return string(out)
	}
	check := func() {
		t.Helper()
		hash := send(t, c, "b@example.com")
		if list := read("-list", "1"); !strings.HasPrefix(list, hash) {
			t.Errorf("-list 1: %s, want the hash %s", list, hash)
		}
		if mail := read("-show", hash); !strings.Contains(mail, "Subject: small") {
			t.Errorf("-show %s: %s", hash, mail)
		}
		if out := read("-t"); strings.Contains(out, "not tried") {
			t.Errorf("-t: %s", out)
		}
	}
	check()
	if err := os.Rename(file, file+".old"); err != nil {
		t.Fatal(err)
	}
	check()
	if status := d.Terminate(t); status != 0 {
		t.Errorf("exit status %d\n%s", status, d.Log())
	}
	if _, err := os.Stat(file + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the WAL exists after a clean stop: %v", err)
	}
	if list := read("-list", "2"); strings.Count(list, "\n") != 1 {
		t.Errorf("-list 2 after the stop, want one message: %s", list)
	}
}
