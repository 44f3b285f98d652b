package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/senders"
)

// An endpoint is a domain that senders deliver to: in clear text through a recorder,
// or with TLS.
type endpoint struct {
	domain   string
	table    *table
	recorder *recorder // nil with TLS
	daemon   *daemon.Daemon
}

// TestSenders sends every sample with every sender, in clear text and with TLS, to
// SQLite, MySQL and PostgreSQL, and compares the rows.
func TestSenders(t *testing.T) {
	dir := test.PublicDir(t)
	cert := test.NewCertificate(t, dir, "mx")
	var endpoints []endpoint
	var routes []senders.Route
	for _, store := range []string{"sqlite", "mysql", "postgres"} {
		keys := map[string]string{
			"GM_ALLOWED_HOSTS": "*." + store + ".example",
			"GSMTP_PUB_KEY":    cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
		}
		d, table := startDaemon(t, store, keys)
		r := startRecorder(t, d.Addr)
		endpoints = append(endpoints,
			endpoint{"clear." + store + ".example", table, r, d},
			endpoint{"tls." + store + ".example", table, nil, d})
		routes = append(routes,
			senders.Route{Domain: "clear." + store + ".example", Addr: r.addr},
			senders.Route{Domain: "tls." + store + ".example", Addr: d.Addr, CA: cert.CertFile})
	}
	messages := samples()
	for name, start := range senders.All() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := start(t, routes)
			for _, e := range endpoints {
				for _, s := range messages {
					if s.utf8 && !sender.UTF8 {
						continue
					}
					m := senders.Message{From: s.from, To: s.local + "-" + name + "@" + e.domain, Text: s.text, UTF8: s.utf8}
					sender.Send(t, m)
					e.check(t, sender, s, m)
				}
			}
		})
	}
}

// check waits for the row of a message and compares all its columns.
func (e endpoint) check(t *testing.T, sender *senders.Sender, s sample, m senders.Message) {
	t.Helper()
	var rows []row
	test.Await(t, nil, time.Minute, "waiting for the row of "+m.To, func() (err error) {
		if rows, err = e.table.to(m.To); err == nil && len(rows) == 0 {
			log := ""
			if sender.Log != nil {
				log = sender.Log()
			}
			err = fmt.Errorf("no row\n%s\n%s", e.daemon.Log(), log)
		}
		return err
	})
	if len(rows) != 1 {
		t.Errorf("%s: %d rows, want 1", m.To, len(rows))
		return
	}
	got := rows[0]
	want := row{
		from: m.From, to: m.To, recipient: m.To, subject: s.subject, charset: s.charset,
		contentType: s.contentType, hasAttach: s.hasAttach, ip: "127.0.0.1", attach: s.attach,
	}
	for _, difference := range got.differences(want) {
		t.Errorf("%s: %s", m.To, difference)
	}
	text := m.Text
	if e.recorder != nil {
		var err error
		if text, err = e.recorder.sent(m.To); err != nil {
			t.Error(err)
			return
		}
		if !bytes.HasSuffix(text, m.Text) {
			t.Errorf("%s: the sender changed the message", m.To)
		}
	}
	head, ok := bytes.CutSuffix(got.mail, text)
	if !ok {
		t.Errorf("%s: the %d stored bytes do not end with the %d sent bytes", m.To, len(got.mail), len(text))
		return
	}
	e.checkHead(t, string(head), got.hash, s, m)
}

// checkHead checks the header fields that the daemon has added. With TLS the fields
// that the sender has added follow them.
func (e endpoint) checkHead(t *testing.T, head, hash string, s sample, m senders.Message) {
	t.Helper()
	protocol, tls := "ESMTP", ""
	if s.utf8 {
		protocol = "UTF8SMTP"
	}
	if e.recorder == nil {
		protocol += "S"
		tls = ` \(TLSv?1\.[23].*\)`
	}
	pattern := `^Return-Path: <` + regexp.QuoteMeta(m.From) + ">\r\n" +
		`Delivered-To: ` + regexp.QuoteMeta(m.To) + "\r\n" +
		`Received: from \S+ \(\[127\.0\.0\.1\]\)` + ` by mx\.test with ` + protocol + tls +
		` id ` + hash + ` for <` + regexp.QuoteMeta(m.To) + `>; \w{3}, \d+ \w{3} 20\d\d \d\d:\d\d:\d\d [+-]\d{4}` + "\r\n"
	if e.recorder != nil {
		pattern += "$" // only the recorded bytes follow
	}
	unfolded := strings.NewReplacer("\r\n\t", " ", "\r\n ", " ").Replace(head)
	if !regexp.MustCompile(pattern).MatchString(unfolded) {
		t.Errorf("%s: added header fields\n%s\ndo not match\n%s", m.To, unfolded, pattern)
	}
}
