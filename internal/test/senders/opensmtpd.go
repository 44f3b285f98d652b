package senders

import (
	"fmt"
	"strings"
	"time"

	"goguerrillad/internal/test"
)

// OpenSMTPD runs a private OpenSMTPD that relays messages by SMTP.
func OpenSMTPD(t test.T, routes []Route) *Sender {
	t.Helper()
	test.NeedRoot(t)
	test.Need(t, "smtpd", "unshare")
	program, err := test.LookPath("smtpd")
	if err != nil {
		t.Fatalf("find OpenSMTPD: %v", err)
	}
	dir := test.PublicDir(t)
	port := test.FreePort(t)
	var config strings.Builder
	config.WriteString("smtp max-message-size 50M\n")
	for i, r := range routes {
		scheme, tls := "smtp+notls", ""
		if r.CA != "" {
			// OpenSMTPD trusts only the certificate authorities of the machine.
			scheme, tls = "smtp+tls", " tls no-verify"
		}
		fmt.Fprintf(&config, "action a%d relay host \"%s://%s\" helo opensmtpd.test%s\n", i, scheme, r.Addr, tls)
		fmt.Fprintf(&config, "match from any for domain %q action a%d\n", r.Domain, i)
	}
	fmt.Fprintf(&config, "listen on 127.0.0.1 port %d hostname opensmtpd.test\n", port)
	file := test.WriteFile(t, dir, "smtpd.conf", config.String())
	cmd := privateCommand(t, []string{"opensmtpd", "opensmtpq"}, []string{"/run", "/var/lib", "/var/spool"},
		"mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty\nchmod 711 /var/spool/smtpd",
		program, "-d", "-f", file)
	p := test.Start(t, cmd)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	test.Await(t, p, 20*time.Second, "wait for the port of OpenSMTPD", test.Dial(addr))
	return &Sender{
		Name: "opensmtpd", Log: p.Output,
		Send: func(t test.T, m Message) { t.Helper(); inject(t, addr, m) },
	}
}
