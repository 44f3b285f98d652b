package debian

import (
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

// check: -t as root checks the configuration as the service would use it: with its user, its
// sandbox and its sockets.
func (m *machine) check(t *testing.T) {
	before := m.Run(t, "cat "+configFile)
	defer m.Run(t, "cat >"+configFile+" <<'EOF'\n"+before+"\nEOF")
	m.Run(t, `printf '{"GM_ALLOWED_HOSTS": ".", "GSMTP_HOST_NAME": "mx.example.com", "GM_MAX_CLIENTS_PER_IP": "50"}' >`+configFile)
	want := func(changes map[string]string, texts ...string) {
		t.Helper()
		m.configure(t, changes)
		out, _ := m.Try("cd / && goguerrillad -t")
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("%v: -t lacks %q:\n%s", changes, text, out)
			}
		}
	}
	const good = "/etc/goguerrilla/goguerrilla.conf: configuration is good"
	want(nil, good)
	if out := m.Run(t, "cd / && goguerrillad -list 1"); strings.Count(out, "\t") != 5 {
		t.Errorf("-list 1: %s", out)
	}
	if out := m.Run(t, "goguerrillad -list 1 -config "+configFile); strings.Count(out, "\t") != 5 {
		t.Errorf("-list 1 -config: %s", out)
	}

	// The directories of certbot.
	cert := test.NewCertificate(t, t.TempDir(), "mx.example.com")
	m.Write(t, "/etc/letsencrypt/archive/key.pem", readFile(t, cert.KeyFile))
	m.Write(t, "/etc/letsencrypt/archive/chain.pem", readFile(t, cert.CertFile))
	m.Run(t, "cd /etc/letsencrypt && mkdir live && ln -s ../archive/key.pem ../archive/chain.pem live/ && chmod 600 archive/key.pem && chmod 700 live archive .")
	defer m.Run(t, "rm -r /etc/letsencrypt /etc/goguerrilla/*.pem")
	want(map[string]string{"GSMTP_PRV_KEY": "/etc/letsencrypt/live/key.pem", "GSMTP_PUB_KEY": "/etc/letsencrypt/live/chain.pem"},
		`GSMTP_PRV_KEY: "/etc/letsencrypt/live/key.pem" cannot be read by the user goguerrilla: permission denied at /etc/letsencrypt (drwx------, owner root)`)
	m.Run(t, "install -m 640 -g goguerrilla -t /etc/goguerrilla /etc/letsencrypt/archive/*.pem")
	want(map[string]string{"GSMTP_PRV_KEY": "/etc/goguerrilla/key.pem", "GSMTP_PUB_KEY": "/etc/goguerrilla/chain.pem"}, good)

	want(map[string]string{"SQLITE_FILE": "/srv/mail/mail.db"}, "ProtectSystem=strict of goguerrillad.service makes it read-only: add ReadWritePaths=/srv/mail to [Service]")
	want(map[string]string{"SQLITE_FILE": "/tmp/mail.db"}, "PrivateTmp=yes of goguerrillad.service gives the service a /tmp of its own")
	want(map[string]string{"SQLITE_FILE": "/root/mail.db"}, "ProtectHome=yes of goguerrillad.service forbids /root")
	want(map[string]string{"SQLITE_FILE": "", "GSMTP_LOG_FILE": "/var/log/goguerrillad/log"}, "add LogsDirectory=goguerrillad to [Service]")
	m.dropIn(t, "log.conf", "[Service]\nLogsDirectory=goguerrillad\n")
	want(nil, good) // systemd creates the directory
	m.removeDropIns(t)
	want(map[string]string{"GSMTP_LOG_FILE": "", "SGID": "nogroup", "GUID": "nobody", "GSTMP_LISTEN_INTERFACE": "0.0.0.0:2525"},
		"warning: SGID and GUID have no effect: the daemon does not start as root", "warning: GSTMP_LISTEN_INTERFACE has no effect: systemd passes the socket smtp", "valid: 2 warnings")
	want(map[string]string{"SGID": "", "GUID": "", "GSTMP_LISTEN_INTERFACE": ""}, good)
}
