package debian

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestFirstHourBookworm follows docs/first-hour.md on Debian 12.
func TestFirstHourBookworm(t *testing.T) { testFirstHour(t, "bookworm") }

// TestFirstHourTrixie follows docs/first-hour.md on Debian 13.
func TestFirstHourTrixie(t *testing.T) { testFirstHour(t, "trixie") }

// A firstHour is a machine of a user who follows the page.
type firstHour struct {
	*machine
	page    test.Page
	hash    string // of the message of step 4
	reloads int    // so far
}

// packagesOfPages are the packages that first-hour.md and tls.md install or need.
var packagesOfPages = []string{"mariadb-server", "postgresql", "exim4-daemon-light", "curl", "certbot", "pebble", "openssl", "ca-certificates"}

// testFirstHour runs all commands of the page in their order. The packages that the page
// installs are there already, since the container has no network.
func testFirstHour(t *testing.T, release string) {
	u := &firstHour{boot(t, release, packagesOfPages...), test.ReadPage(t, "first-hour.md"), "", 0}
	u.Run(t, "rm "+u.debs[1])
	ran := 0
	for _, step := range []struct {
		name string
		run  func(*firstHour, *testing.T)
	}{
		{"install", nil},
		{"configure", (*firstHour).configured},
		{"port", (*firstHour).portInUse},
		{"exim", nil},
		{"start", (*firstHour).started},
		{"send", (*firstHour).sent},
		{"find", (*firstHour).found},
		{"mariadb", nil},
		{"database", nil},
		{"mysql", (*firstHour).configured},
		{"row", (*firstHour).rowRead},
		{"restart", (*firstHour).databaseRestarted},
		{"reopen", (*firstHour).reopened},
		{"delete", (*firstHour).deleted},
		{"postgresql", nil},
		{"roles", nil},
		{"postgres", (*firstHour).configured},
		{"row-postgres", (*firstHour).rowRead},
		{"restart-postgres", (*firstHour).databaseRestarted},
		{"delete-postgres", (*firstHour).deleted},
		{"upgrade", (*firstHour).upgraded},
		{"remove", (*firstHour).removed},
		{"purge", (*firstHour).purged},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			if step.run == nil {
				u.do(t, step.name)
			} else {
				step.run(u, t)
			}
		})
		if !ok {
			t.Fatalf("step %q failed, and the next steps depend on it", step.name)
		}
		ran++
	}
	for title := range u.page {
		if strings.HasPrefix(title, "sh ") {
			ran--
		}
	}
	if ran != 0 {
		t.Errorf("%d more steps than commands on the page", ran)
	}
}

// do runs the commands of a block on the page and returns their output.
func (u *firstHour) do(t *testing.T, title string) string {
	t.Helper()
	script := u.page.Block(t, "sh "+title)
	script = strings.ReplaceAll(script, "HASH=HASH", "HASH="+u.hash)
	script = strings.ReplaceAll(script, "-show HASH", "-show "+u.hash)
	script = strings.ReplaceAll(script, "apt ", "apt-get --yes ")
	return u.Run(t, "cd /root && set -e\n"+script)
}

// expect checks that the output of a block contains a text.
func (u *firstHour) expect(t *testing.T, title, want string) {
	t.Helper()
	if out := u.do(t, title); !strings.Contains(out, want) {
		t.Errorf("the output lacks %q:\n%s", want, out)
	}
}

// step returns the name of the step that is running.
func step(t *testing.T) string { return t.Name()[strings.LastIndexByte(t.Name(), '/')+1:] }

// configured: -t finds nothing wrong with the configurations of the page.
func (u *firstHour) configured(t *testing.T) {
	out := u.do(t, step(t))
	if last := out[strings.LastIndexByte(out, '\n')+1:]; last+"\n" != u.page.Block(t, "text good") {
		t.Errorf("-t prints\n%s", out)
	}
	if got := u.Run(t, "stat --format='%U:%G %a' "+configFile); got != "root:goguerrilla 640" {
		t.Errorf("%s: %s, want root:goguerrilla 640", configFile, got)
	}
}

func (u *firstHour) portInUse(t *testing.T) { u.expect(t, "port", "exim4") }

func (u *firstHour) started(t *testing.T) {
	u.expect(t, "start", "active (running)")
	u.awaitProperty(t, service, "StatusText", strings.TrimSpace(u.page.Block(t, "text status")))
}

func (u *firstHour) sent(t *testing.T) {
	out := u.do(t, "send")
	line := out[strings.LastIndexByte(out, '\n')+1:]
	u.hash, _, _ = strings.Cut(line, "\t")
	if !strings.Contains(line, "me@example.org") || !strings.Contains(line, "first") {
		t.Errorf("-list prints\n%s", out)
	}
}

func (u *firstHour) found(t *testing.T) {
	u.expect(t, "find", "Hello")
	for _, match := range []string{"GOGUERRILLA_HASH=" + u.hash, "GOGUERRILLA_TO=you@example.com"} {
		if out := u.Run(t, "journalctl "+match); strings.Count(out, "message accepted") != 1 || !strings.Contains(out, u.hash) {
			t.Errorf("journalctl %s:\n%s", match, out)
		}
	}
}

func (u *firstHour) rowRead(t *testing.T) {
	u.reloads++
	test.Await(t, nil, 20*time.Second, "waiting for the end of the reload", func() error {
		if n := u.Run(t, "journalctl --output=cat --unit="+service+" | grep --count --line-regexp reloaded || true"); n != fmt.Sprint(u.reloads) {
			return fmt.Errorf("%s reloads, want %d", n, u.reloads)
		}
		return nil
	})
	u.hash = u.send(t, "127.0.0.1:25")
	u.expect(t, step(t), "b@example.com")
	u.expectStored(t, u.hash)
}

// databaseRestarted: a restart of the database is not seen by the clients.
func (u *firstHour) databaseRestarted(t *testing.T) {
	l := startLoad(u.Box)
	l.awaitAcks(t, 20)
	u.do(t, step(t))
	l.awaitAcks(t, 20)
	l.stop(t)
	if l.refused+l.reset+l.temporary > 0 {
		t.Errorf("%d connections were refused, %d reset, %d replies were 451 or 421, want none", l.refused, l.reset, l.temporary)
	}
}

// reopened: the page opens the port again after failed starts have closed it.
func (u *firstHour) reopened(t *testing.T) {
	text := u.Run(t, "cat "+configFile)
	u.Run(t, "echo >>"+configFile+" invalid; systemctl stop "+service)
	test.Await(t, nil, 30*time.Second, "waiting until systemd closes the port", func() error {
		if conn, err := u.Dial("tcp", "127.0.0.1:25", time.Second); err == nil {
			conn.Close()
		}
		if state := u.show(t, socket, "ActiveState"); state != "failed" {
			return fmt.Errorf("the socket is %s", state)
		}
		return nil
	})
	status, _ := u.Try("systemctl status --no-pager " + service)
	if reopen := strings.TrimSpace(u.page.Block(t, "sh reopen")); !strings.Contains(status, "configuration refused: ") || !strings.Contains(status, "when it is corrected: "+reopen) {
		t.Errorf("systemctl status lacks the error or %q:\n%s", reopen, status)
	}
	u.Run(t, "cat >"+configFile+" <<'EOF'\n"+text+"\nEOF")
	u.do(t, "reopen")
	u.send(t, "127.0.0.1:25")
}

// deleted: the second user may delete, and keeps new messages.
func (u *firstHour) deleted(t *testing.T) {
	u.do(t, step(t))
	u.expectStored(t, u.hash)
}

func (u *firstHour) upgraded(t *testing.T) {
	u.Write(t, u.debs[1], readFile(t, built(t)[1]))
	u.Run(t, "rm "+u.debs[0])
	l := startLoad(u.Box)
	l.awaitAcks(t, 20)
	u.do(t, "upgrade")
	l.awaitAcks(t, 20)
	l.stop(t)
	if l.refused+l.reset > 0 {
		t.Errorf("%d connections were refused, %d reset", l.refused, l.reset)
	}
}

func (u *firstHour) removed(t *testing.T) {
	u.do(t, "remove")
	for _, path := range []string{configFile, "/var/lib/goguerrillad/mail.db"} {
		if _, err := os.Stat(filepath.Join(u.Root, path)); err != nil {
			t.Errorf("after the removal: %v", err)
		}
	}
}

func (u *firstHour) purged(t *testing.T) {
	u.do(t, "purge")
	u.Run(t, "! test -e /var/lib/goguerrillad && ! test -e /etc/goguerrilla")
	for _, client := range []string{"mariadb --skip-column-names mail", "su - postgres -c 'psql --tuples-only --no-align mail'"} {
		if out := u.Run(t, "echo 'SELECT CASE WHEN COUNT(*) > 20 THEN 1 END FROM new_mail;' | "+client); out != "1" {
			t.Errorf("the table of %s after the purge: %s", client, out)
		}
	}
}
