package debian

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// upgrade: an upgrade of the package refuses no connection and closes none without a reply.
func (m *machine) upgrade(t *testing.T) {
	pid := m.show(t, service, "MainPID")
	l := startLoad(m.Box)
	l.awaitAcks(t, 20)
	m.Run(t, "dpkg --install "+m.debs[1])
	l.awaitAcks(t, 20)
	l.stop(t)
	if l.refused > 0 || l.reset > 0 {
		t.Errorf("%d connections were refused, %d reset", l.refused, l.reset)
	}
	if now := m.show(t, service, "MainPID"); now == pid {
		t.Error("the old process still runs")
	}
	if got := m.Run(t, "/usr/sbin/goguerrillad -version"); !strings.Contains(got, "1.0~test2") {
		t.Errorf("version %s, want 1.0~test2", got)
	}
}

// autopkgtest runs the test that autopkgtest(1) runs after an installation.
func (m *machine) autopkgtest(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(moduleRoot(t), "packaging/deb/tests/mail"))
	if err != nil {
		t.Fatal(err)
	}
	m.Write(t, "/root/autopkgtest", string(script))
	m.Run(t, "bash /root/autopkgtest")
	m.configure(t, map[string]string{"GM_ALLOWED_HOSTS": "."})
	m.Run(t, "systemctl reload "+service)
	m.awaitReply(t, 250)
}

// manualPages: man(1) displays both pages.
func (m *machine) manualPages(t *testing.T) {
	for page, want := range map[string]string{"goguerrillad": "SIGNALS", "goguerrilla.conf": "GM_ALLOWED_HOSTS"} {
		if out := m.Run(t, "MANWIDTH=80 man -P cat "+page); !strings.Contains(out, want) {
			t.Errorf("man %s does not contain %s: %s", page, want, out)
		}
	}
}

// examples runs the examples of goguerrillad(8).
func (m *machine) examples(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(moduleRoot(t), "man/goguerrillad.8"))
	if err != nil {
		t.Fatal(err)
	}
	hash := m.send(t, "127.0.0.1:25")
	_, section, _ := strings.Cut(string(text), ".Sh EXAMPLES\n")
	section, _, _ = strings.Cut(section, ".Sh ")
	for _, part := range strings.Split(section, ".Bd -literal -offset indent\n")[1:] {
		script, _, _ := strings.Cut(part, ".Ed")
		script = strings.ReplaceAll(script, `\e`, `\`)
		script = strings.ReplaceAll(script, "95b6e6209cb775dd98a421780a03a718", hash)
		script = strings.ReplaceAll(script, "192.0.2.1", "127.0.0.1")
		if out := m.Run(t, "set -e\n"+script); strings.Contains(script, "journalctl") && strings.Count(out, hash) < 2 {
			t.Errorf("the output of %s does not contain the hash twice: %s", script, out)
		}
	}
	m.send(t, "127.0.0.1:25")
	m.send(t, "127.0.0.1:2525")
	if got := m.show(t, service, "MemoryMax"); got != "268435456" {
		t.Errorf("MemoryMax is %s, want 268435456", got)
	}
	m.Run(t, "rm -r /etc/systemd/system/goguerrillad.socket.d; systemctl revert "+service+"; systemctl daemon-reload; systemctl stop "+socket)
	// On a busy machine the port may still be in use just after the end of the service.
	m.Run(t, "for try in 1 2 3 4 5; do systemctl start "+socket+" && exit; sleep 1; done; exit 1")
}

// remove: a removal keeps the messages and the configuration, and a new installation uses
// them. A purge removes all files but keeps the user.
func (m *machine) remove(t *testing.T) {
	hash := m.send(t, "127.0.0.1:25")
	m.Run(t, "dpkg --remove goguerrillad")
	if err := m.refusesConnections("127.0.0.1:25"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{configFile, "/var/lib/goguerrillad/mail.db"} {
		if _, err := os.Stat(filepath.Join(m.Root, path)); err != nil {
			t.Errorf("after the removal: %v", err)
		}
	}
	m.Run(t, "dpkg --install "+m.debs[1])
	m.expectStored(t, hash)
	// A purge must also work if the messages are on their own volume.
	m.Run(t, "systemctl stop "+socket+" "+service+" && mount -t tmpfs tmpfs /var/lib/goguerrillad && touch /var/lib/goguerrillad/mail.db")
	m.Run(t, "dpkg --purge goguerrillad")
	m.Run(t, "test -z \"$(ls -A /var/lib/goguerrillad)\" && umount /var/lib/goguerrillad && rm -r /var/lib/goguerrillad")
	left := m.Run(t, "find / -xdev \\( -name '*goguerrill*' -o -path '*/goguerrill*' \\) ! -path '/proc/*' ! -path '/sys/*' ! -path '/root/*' ! -path '/run/*' ! -path '/var/log/journal/*' ! -path '/var/cache/man/*'")
	if left != "" {
		t.Errorf("the purge left\n%s", left)
	}
	if got := m.Run(t, "getent passwd goguerrilla"); !strings.HasPrefix(got, "goguerrilla:") {
		t.Errorf("getent passwd goguerrilla after the purge: %q", got)
	}
}
