package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// TestList runs -list and -show with each store that has a Reader: on a terminal, into
// a pipe, and without stored messages.
func TestList(t *testing.T) {
	for _, store := range []string{"sqlite", "maildir", "mysql", "postgres"} {
		t.Run(store, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"GM_SAVE_MAIL": store})
			if store == "mysql" || store == "postgres" {
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
			second := send(t, c, "other@example.com")
			lines := func(flags ...string) (hashes []string) {
				t.Helper()
				out, err := d.Cmd(flags...).Output()
				if err != nil {
					t.Errorf("%v: %v", flags, err)
				}
				for line := range strings.Lines(string(out)) {
					var m struct{ Hash, Date, From, To, Subject string }
					if strings.HasPrefix(line, "{") {
						if err := json.Unmarshal([]byte(line), &m); err != nil || m.From == "" || m.Subject != "small" {
							t.Errorf("%v: %s: %v", flags, line, err)
						}
					} else {
						m.Hash, _, _ = strings.Cut(line, "\t")
					}
					hashes = append(hashes, m.Hash)
				}
				return hashes
			}
			for _, tt := range []struct {
				flags []string
				want  []string
			}{
				{nil, []string{second, hash}},
				{[]string{"-to", "other@example.com"}, []string{second}},
				{[]string{"-json", "-to=other@example.com", "-from", "sender@example.org"}, []string{second}},
				{[]string{"-json", "-since", "1h"}, []string{second, hash}},
				{[]string{"-since", "2020-01-31"}, []string{second, hash}},
				{[]string{"-since", "1900-01-31"}, []string{second, hash}},
				{[]string{"-since", "2020-01-31T12:00:00+02:00", "-from", "sender@example.org"}, []string{second, hash}},
			} {
				if got := lines(append([]string{"-list", "10"}, tt.flags...)...); !slices.Equal(got, tt.want) {
					t.Errorf("-list 10 %v: %q, want %q", tt.flags, got, tt.want)
				}
			}
			fails("-list", "10", "-to", "nobody@example.com")
			fails("-list", "10", "-since", "2100-01-01")
			common := 0
			for hash[common] == second[common] {
				common++
			}
			if mail, err := d.Cmd("-show", hash[:common+1]).Output(); err != nil || !strings.HasSuffix(string(mail), "Subject: small\r\n\r\ntext\r\n") {
				t.Errorf("-show with a prefix: %v, %q", err, mail)
			}
			if common > 0 {
				fails("-show", hash[:common])
			}
			fails("-show", strings.Repeat("0", 20))
			test.Need(t, "script")
			output, err := exec.Command("script", "-qec",
				fmt.Sprintf("stty cols 90; %s -config %s -list 10 -to someone-with-a-rather-long-name@a-rather-long-domain.example.com", d.Program, d.ConfigFile()), "/dev/null").CombinedOutput()
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

// TestListPeer: -list of root becomes the user in GUID, whom PostgreSQL recognises.
func TestListPeer(t *testing.T) {
	test.NeedRoot(t)
	p := servers.Postgres(t)
	p.CreateTable(t, "new_mail")
	p.Exec(t, "CREATE ROLE nobody LOGIN", "GRANT SELECT, INSERT ON new_mail TO nobody")
	d := newDaemon(t, p.Keys())
	d.Configure(t, map[string]string{"POSTGRES_DSN": "host=" + p.Socket + " port=" + p.Port() + " dbname=" + p.DB, "SQLITE_FILE": ""})
	d.Start(t)
	hash := send(t, connect(t, d), "a@example.com")
	if out, err := d.Cmd("-list", "1").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), hash) {
		t.Errorf("-list: %v, %q", err, out)
	}
}
