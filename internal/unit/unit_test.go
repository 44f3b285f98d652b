package unit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestForbids: the sandbox of a unit forbids what systemd.exec(5) states, and the text has
// the change that permits it.
func TestForbids(t *testing.T) {
	shipped := map[string]string{"ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "StateDirectory": "goguerrillad"}
	with := func(key, value string) map[string]string {
		m := map[string]string{key: value}
		for k, v := range shipped {
			if _, ok := m[k]; !ok {
				m[k] = v
			}
		}
		return m
	}
	for _, tt := range []struct {
		properties map[string]string
		path       string
		write      bool
		want       string // part of the reason, "" = permitted
	}{
		{shipped, "/var/lib/goguerrillad/mail.db", true, ""},
		{shipped, "/var/lib/goguerrillad2/mail.db", true, "add ReadWritePaths=/var/lib/goguerrillad2 to"},
		{shipped, "mail.db", true, "add ReadWritePaths=/ to"}, // relative to /
		{shipped, "/srv/mail/mail.db", true, "ProtectSystem=strict of goguerrillad.service makes it read-only: add ReadWritePaths=/srv/mail to [Service]"},
		{shipped, "/srv/mail/mail.db", false, ""},
		{shipped, "/var/log/goguerrillad/log", true, "add LogsDirectory=goguerrillad to"},
		{shipped, "/etc/goguerrilla/key.pem", false, ""},
		{shipped, "/home/me/key.pem", false, "ProtectHome=yes"},
		{shipped, "/root/key.pem", false, "ProtectHome=yes"},
		{shipped, "/tmp/key.pem", false, "PrivateTmp=yes"},
		{shipped, "/var/tmp/mail.db", true, "PrivateTmp=yes"},
		{shipped, "/dev/null", true, ""},
		{with("ReadWritePaths", "/data -/srv"), "/srv/mail/mail.db", true, ""},
		{with("BindPaths", "/srv:/srv:rbind"), "/srv/mail/mail.db", true, ""},
		{with("LogsDirectory", "other goguerrillad"), "/var/log/goguerrillad/log", true, ""},
		{with("ProtectHome", "read-only"), "/home/me/key.pem", false, ""},
		{with("ProtectHome", "read-only"), "/home/me/mail.db", true, "ProtectHome=read-only"},
		{with("ProtectHome", "no"), "/home/me/key.pem", false, ""},
		{with("PrivateTmp", "no"), "/tmp/key.pem", false, ""},
		{with("ProtectSystem", "full"), "/srv/mail.db", true, ""},
		{with("ProtectSystem", "full"), "/etc/mail.db", true, "ProtectSystem=full"},
		{with("ProtectSystem", "yes"), "/etc/mail.db", true, ""},
		{with("ProtectSystem", "yes"), "/usr/mail.db", true, "ProtectSystem=yes"},
		{with("ProtectSystem", "no"), "/usr/mail.db", true, ""},
	} {
		s := &Service{properties: tt.properties}
		if got := s.Forbids(tt.path, tt.write); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s, write %v, %v: %q, want %q", tt.path, tt.write, tt.properties, got, tt.want)
		}
	}
}

// TestRuns: a unit runs a configuration file if its ExecStart= names it.
func TestRuns(t *testing.T) {
	const start = "{ path=/usr/sbin/goguerrillad ; argv[]=/usr/sbin/goguerrillad %s ; ignore_errors=no ; start_time=[n/a] }"
	for arguments, want := range map[string]bool{
		"-config /etc/goguerrilla/goguerrilla.conf": true, "--config /etc/goguerrilla/goguerrilla.conf": true,
		"-v y -config /etc/goguerrilla/goguerrilla.conf": true, "-config=/etc/goguerrilla/goguerrilla.conf": true,
		"-config /etc/other.conf": false, "-config": false, "": false,
	} {
		s := &Service{properties: map[string]string{"ExecStart": fmt.Sprintf(start, arguments)}}
		if got := s.runs("/etc/goguerrilla/goguerrilla.conf"); got != want {
			t.Errorf("%s: %v, want %v", arguments, got, want)
		}
	}
}

// TestExplain: only a service of systemd has a sandbox.
func TestExplain(t *testing.T) {
	for id, want := range map[string]string{"": "read-only file system", "1": "read-only file system in the sandbox of goguerrillad.service: add ReadWritePaths=/srv to [Service] (systemctl edit goguerrillad)"} {
		t.Setenv("INVOCATION_ID", id)
		if got := Explain("/srv/log", unix.EROFS); got.Error() != want || !errors.Is(got, unix.EROFS) {
			t.Errorf("INVOCATION_ID=%s: %v, want %s", id, got, want)
		}
		if got := Explain("/srv/log", unix.EACCES); got != unix.EACCES {
			t.Errorf("another error became %v", got)
		}
	}
}
