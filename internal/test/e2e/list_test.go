package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"goguerrillad/internal/test"
)

// TestList runs -list and -show with each store that has a Reader: on a terminal, into
// a pipe, and without stored messages.
func TestList(t *testing.T) {
	for _, store := range []string{"sqlite", "maildir", "mysql"} {
		t.Run(store, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"GM_SAVE_MAIL": store})
			if store == "mysql" {
				d, _ = startDaemon(t, store, nil)
			} else {
				d.Configure(t, map[string]string{"GM_MAILDIR": filepath.Join(d.Dir, "Maildir")})
				d.Start(t)
			}
			fails := func(flags ...string) {
				t.Helper()
				out, err := d.Cmd(flags...).CombinedOutput()
				if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 1 || strings.Count(string(out), "\n") != 1 {
					t.Errorf("%v: %v, %q, want exit status 1 and one line", flags, err, out)
				}
			}
			c := connect(t, d)
			hash := send(t, c, "someone-with-a-rather-long-name@a-rather-long-domain.example.com")
			fails("-show", strings.Repeat("0", 32))
			if mail, err := d.Cmd("-show", hash).Output(); err != nil || !strings.HasSuffix(string(mail), "Subject: small\r\n\r\ntext\r\n") {
				t.Errorf("-show: %v, %q", err, mail)
			}
			list, err := d.Cmd("-list", "10").Output()
			if err != nil || strings.Count(string(list), "\t") != 5 || !strings.Contains(string(list), "<someone-with-a-rather-long-name@a-rather-long-domain.example.com>") {
				t.Errorf("-list into a pipe: %v, %q", err, list)
			}
			test.Need(t, "script")
			output, err := exec.Command("script", "-qec",
				fmt.Sprintf("stty cols 90; %s -config %s -list 10", d.Program, d.ConfigFile()), "/dev/null").CombinedOutput()
			line := strings.TrimSpace(string(output))
			if err != nil || utf8.RuneCountInString(line) > 90 || !strings.HasPrefix(line, hash+" ") || strings.Contains(line, "\t") {
				t.Errorf("-list on a terminal: %v, %q", err, output)
			}
		})
	}
	d := newDaemon(t, nil)
	d.Start(t)
	test.Await(t, d.Process(), 10*time.Second, "listing an empty table", func() error { // the daemon creates the table after the start
		if out, err := d.Cmd("-list", "3").CombinedOutput(); err == nil || !strings.Contains(string(out), "no messages are stored") {
			return fmt.Errorf("-list 3: %v, %q", err, out)
		}
		return nil
	})
}
