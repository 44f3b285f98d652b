package debian

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestTLSBookworm follows docs/tls.md on Debian 12.
func TestTLSBookworm(t *testing.T) { testTLS(t, "bookworm") }

// TestTLSTrixie follows docs/tls.md on Debian 13.
func TestTLSTrixie(t *testing.T) { testTLS(t, "trixie") }

// A tlsUser is a machine of a user who follows the page.
type tlsUser struct {
	*machine
	page test.Page
}

// acme are the options and the environment with which certbot uses the ACME server of the
// test instead of Let's Encrypt.
const (
	acmeEnvironment = "export REQUESTS_CA_BUNDLE=/root/acme.crt\n"
	acmeOptions     = "certbot --server https://localhost:14000/dir --agree-tos --register-unsafely-without-email --non-interactive --no-random-sleep-on-renew "
)

// testTLS runs the commands of the page with the real certbot and pebble, an ACME server that
// checks the name as Let's Encrypt does.
func testTLS(t *testing.T, release string) {
	u := &tlsUser{boot(t, release, packagesOfPages...), test.ReadPage(t, "tls.md")}
	for _, step := range []struct {
		name string
		run  func(*tlsUser, *testing.T)
	}{
		{"prepare", (*tlsUser).prepare},
		{"certbot", (*tlsUser).certbot},
		{"renewals under load", (*tlsUser).renewals},
		{"broken renewal", (*tlsUser).brokenRenewal},
		{"stopped service", (*tlsUser).stoppedService},
		{"several", (*tlsUser).several},
		{"smtps", (*tlsUser).implicit},
		{"credentials", (*tlsUser).tlsCredentials},
		{"encrypted credentials", (*tlsUser).encryptedCredentials},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(u, t) }) {
			t.Fatalf("step %q failed, and the next steps depend on it", step.name)
		}
	}
}

// prepare installs the daemon and starts pebble, whose root the machine trusts.
func (u *tlsUser) prepare(t *testing.T) {
	u.Run(t, "systemctl stop exim4; dpkg --install "+u.debs[0])
	u.Run(t, "echo 127.0.0.1 mail.example.com >>/etc/hosts")
	u.Run(t, "cd /root && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout acme.key -out acme.crt -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null")
	u.Write(t, "/root/pebble.json", `{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
		"certificate": "/root/acme.crt", "privateKey": "/root/acme.key", "httpPort": 80, "tlsPort": 443}}`)
	u.Run(t, "systemd-run --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_WFE_NONCEREJECT=0 pebble -config /root/pebble.json")
	test.Await(t, nil, 30*time.Second, "waiting for pebble", func() error {
		out, err := u.Try("curl --silent --show-error --fail --cacert /root/acme.crt https://localhost:15000/roots/0 --output /usr/local/share/ca-certificates/pebble.crt && update-ca-certificates")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	u.configure(t, map[string]string{"GM_ALLOWED_HOSTS": "example.com", "GSMTP_HOST_NAME": "mail.example.com"})
	u.Run(t, "systemctl enable --now "+socket+" && systemctl start "+service)
}

// do runs the commands of a block on the page.
func (u *tlsUser) do(t *testing.T, title string) string {
	t.Helper()
	script := strings.ReplaceAll(u.page.Block(t, "sh "+title), "apt ", "apt-get --yes ")
	return u.Run(t, "set -e\n"+acmeEnvironment+strings.ReplaceAll(script, "certbot certonly", acmeOptions+"certonly"))
}

// serial returns the serial number of the certificate that a client receives, whose chain
// must be valid.
func (u *tlsUser) serial(t *testing.T, options string) string {
	t.Helper()
	out := u.Run(t, "openssl s_client "+options+" -servername mail.example.com -verify_return_error </dev/null 2>/dev/null | openssl x509 -noout -serial")
	if !strings.HasPrefix(out, "serial=") {
		t.Fatalf("openssl: %s", out)
	}
	return out
}

const startTLS = "-starttls smtp -connect 127.0.0.1:25"

func (u *tlsUser) certbot(t *testing.T) {
	u.do(t, "certbot")
	if out := u.do(t, "configure"); !strings.Contains(out, "configuration is good") {
		t.Errorf("-t: %s", out)
	}
	test.Await(t, nil, 20*time.Second, "waiting for the end of the reload", func() error {
		out, _ := u.Try(strings.ReplaceAll(u.page.Block(t, "sh see"), "openssl s_client", "openssl s_client -brief"))
		if !strings.Contains(out, "Verification: OK") {
			return fmt.Errorf("openssl: %s", out)
		}
		return nil
	})
	if got := u.Run(t, "stat --format='%U:%G %a' /etc/goguerrilla/tls/mail.example.com/*.pem"); got != "root:goguerrilla 640\nroot:goguerrilla 640" {
		t.Errorf("the files have %s", got)
	}
}

// renew renews the certificate as certbot's timer does.
func (u *tlsUser) renew(t *testing.T) string {
	t.Helper()
	return u.Run(t, acmeEnvironment+acmeOptions+"renew --force-renewal 2>&1")
}

// awaitSerial waits until clients receive another certificate.
func (u *tlsUser) awaitSerial(t *testing.T, old string) (serial string) {
	t.Helper()
	test.Await(t, nil, 20*time.Second, "waiting for the new certificate", func() error {
		if serial = u.serial(t, startTLS); serial == old {
			return fmt.Errorf("still %s", old)
		}
		return nil
	})
	return serial
}

// renewals: no renewal refuses a connection or gives a 4xx, and clients receive each new
// certificate.
func (u *tlsUser) renewals(t *testing.T) {
	serial := u.serial(t, startTLS)
	l := startLoad(u.Box)
	l.awaitAcks(t, 20)
	for range 5 {
		u.renew(t)
		serial = u.awaitSerial(t, serial)
		l.awaitAcks(t, 20)
	}
	l.stop(t)
	if l.refused+l.reset+l.temporary > 0 {
		t.Errorf("%d connections refused, %d reset, %d replies 4xx, want none", l.refused, l.reset, l.temporary)
	}
}

// brokenRenewal: a certificate that does not belong to its key changes nothing, and the hook
// reports it.
func (u *tlsUser) brokenRenewal(t *testing.T) {
	serial, before := u.serial(t, startTLS), u.Run(t, "sha256sum /etc/goguerrilla/tls/mail.example.com/*")
	u.Run(t, "mkdir -p /root/broken/mail.example.com && cp /root/acme.key /root/broken/mail.example.com/privkey.pem && cp /etc/letsencrypt/live/mail.example.com/fullchain.pem /root/broken/mail.example.com/")
	out, err := u.Try("RENEWED_LINEAGE=/root/broken/mail.example.com /etc/letsencrypt/renewal-hooks/deploy/goguerrillad")
	if err == nil || !strings.Contains(out, "does not belong to the certificate") || !strings.Contains(out, "keeps its old certificate") {
		t.Errorf("the hook: %v, %s", err, out)
	}
	if after := u.Run(t, "sha256sum /etc/goguerrilla/tls/mail.example.com/*"); after != before {
		t.Errorf("files before\n%s\nafter\n%s", before, after)
	}
	u.Run(t, "systemctl reload "+service)
	if now := u.serial(t, startTLS); now != serial {
		t.Errorf("the certificate is %s, before %s", now, serial)
	}
}

// stoppedService: a renewal while the service is stopped is used at its next start.
func (u *tlsUser) stoppedService(t *testing.T) {
	serial := u.serial(t, startTLS)
	u.Run(t, "systemctl stop "+socket+" "+service)
	u.renew(t)
	u.Run(t, "systemctl start "+socket+" "+service)
	if now := u.serial(t, startTLS); now == serial {
		t.Error("the old certificate is used")
	}
}

// several: each name has its certificate, and the first one is the default.
func (u *tlsUser) several(t *testing.T) {
	const other = "/etc/goguerrilla/tls/mail.example.net"
	u.Run(t, "install -d -m 750 -g goguerrilla "+other+" && cd "+other+" && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out chain.pem -subj /CN=mail.example.net -addext subjectAltName=DNS:mail.example.net 2>/dev/null && chgrp goguerrilla *.pem && chmod 640 *.pem")
	before := u.Run(t, "cat "+configFile)
	defer func() {
		u.Run(t, "cat >"+configFile+" <<'EOF'\n"+before+"\nEOF\nsystemctl reload "+service)
	}()
	u.Run(t, "cat >"+configFile+" <<'EOF'\n"+u.page.Block(t, "json several")+"EOF\ngoguerrillad -t && systemctl reload "+service)
	for name, want := range map[string]string{"mail.example.com": "mail.example.com", "mail.example.net": "CN = mail.example.net", "elsewhere.example": "mail.example.com"} {
		test.Await(t, nil, 20*time.Second, "waiting for the certificate of "+name, func() error {
			out := u.Run(t, "openssl s_client "+startTLS+" -servername "+name+" </dev/null 2>/dev/null | openssl x509 -noout -subject -ext subjectAltName")
			if !strings.Contains(strings.ReplaceAll(out, "CN=", "CN = "), want) {
				return fmt.Errorf("%s, want %s", out, want)
			}
			return nil
		})
	}
}

// implicit: the socket smtps has TLS from the beginning, beside the other one.
func (u *tlsUser) implicit(t *testing.T) {
	u.Write(t, "/etc/systemd/system/goguerrillad-smtps.socket", u.page.Block(t, "ini smtps"))
	u.do(t, "smtps")
	if smtps, plain := u.serial(t, "-connect 127.0.0.1:465"), u.serial(t, startTLS); smtps != plain {
		t.Errorf("certificates %s and %s, want the same", smtps, plain)
	}
	u.Run(t, "printf 'Subject: x\\n\\ntext\\n' | curl --silent --show-error --crlf --insecure smtps://127.0.0.1:465 --mail-from a@example.org --mail-rcpt implicit@example.com --upload-file -")
	out := u.Run(t, "goguerrillad -list 1")
	hash, _, _ := strings.Cut(out, "\t")
	if text := u.Run(t, "goguerrillad -show "+hash); !strings.Contains(text, " with ESMTPS (TLS1.3") && !strings.Contains(text, " with ESMTPS") {
		t.Errorf("-show: %s", text)
	}
}

// tlsCredentials: the service uses the credentials. A restart reads them again. A reload does
// so with systemd 252, but not with 257.
func (u *tlsUser) tlsCredentials(t *testing.T) {
	u.configure(t, map[string]string{"GSMTP_PRV_KEY": "", "GSMTP_PUB_KEY": ""})
	u.dropIn(t, "tls.conf", u.page.Block(t, "ini credentials"))
	if out := u.Run(t, "goguerrillad -t"); !strings.Contains(out, "configuration is good") {
		t.Errorf("-t: %s", out)
	}
	u.Run(t, "systemctl restart "+service)
	serial := u.serial(t, startTLS)
	u.renew(t)
	u.Run(t, "systemctl reload "+service)
	version := u.Run(t, "systemctl --version | head --lines=1")
	if reread := u.serial(t, startTLS) != serial; reread != strings.Contains(version, "systemd 252 ") {
		t.Errorf("%s: a reload has read the credential again: %v", version, reread)
	}
	serial = u.serial(t, startTLS)
	u.renew(t)
	u.Run(t, "systemctl restart "+service)
	if now := u.serial(t, startTLS); now == serial {
		t.Error("a restart has not read the credential again")
	}
}

// encryptedCredentials: the key may be encrypted on the disk.
func (u *tlsUser) encryptedCredentials(t *testing.T) {
	u.Run(t, "systemd-creds encrypt --with-key=host --name=tls_key /etc/letsencrypt/live/mail.example.com/privkey.pem /etc/goguerrilla/tls_key.cred")
	u.dropIn(t, "tls.conf", "[Service]\nLoadCredentialEncrypted=tls_key:/etc/goguerrilla/tls_key.cred\nLoadCredential=tls_cert:/etc/letsencrypt/live/mail.example.com/fullchain.pem\n")
	u.Run(t, "systemctl restart "+service)
	u.serial(t, startTLS)
	if out := u.Run(t, "goguerrillad -t"); !strings.Contains(out, "configuration is good") {
		t.Errorf("-t: %s", out)
	}
}
