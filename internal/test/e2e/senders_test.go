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

// A way is one daemon as seen by senders: in clear through a wire, or by TLS.
type way struct {
	domain string
	table  *table
	wire   *wire // nil by TLS
	daemon *daemon.Daemon
}

// TestSenders has every sender deliver every mail, in clear and by TLS, into
// both databases, and looks at the rows.
func TestSenders(t *testing.T) {
	dir := test.PublicDir(t)
	cert := test.NewCertificate(t, dir, "mx")
	var ways []way
	var routes []senders.Route
	for _, store := range []string{"sqlite", "mysql"} {
		keys := map[string]string{
			"GM_ALLOWED_HOSTS": "*." + store + ".example",
			"GSMTP_PUB_KEY":    cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
		}
		d, table := startDaemon(t, store, keys)
		w := startWire(t, d.Addr)
		ways = append(ways, way{"clear." + store + ".example", table, w, d}, way{"tls." + store + ".example", table, nil, d})
		routes = append(routes,
			senders.Route{Domain: "clear." + store + ".example", Addr: w.addr},
			senders.Route{Domain: "tls." + store + ".example", Addr: d.Addr, CA: cert.CertFile})
	}
	mails := samples()
	for name, start := range senders.All() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := start(t, routes)
			for _, way := range ways {
				for _, s := range mails {
					if s.utf8 && !sender.UTF8 {
						continue
					}
					m := senders.Message{From: s.from, To: s.local + "-" + name + "@" + way.domain, Text: s.text, UTF8: s.utf8}
					sender.Send(t, m)
					way.check(t, sender, s, m)
				}
			}
		})
	}
}

// check waits for the row and compares all of it.
func (w way) check(t *testing.T, sender *senders.Sender, s sample, m senders.Message) {
	t.Helper()
	var rows []row
	test.Await(t, nil, time.Minute, "the row of "+m.To, func() (err error) {
		if rows, err = w.table.to(m.To); err == nil && len(rows) == 0 {
			log := ""
			if sender.Log != nil {
				log = sender.Log()
			}
			err = fmt.Errorf("is not there\n%s\n%s", w.daemon.Log(), log)
		}
		return err
	})
	if len(rows) != 1 {
		t.Errorf("%s: %d rows", m.To, len(rows))
		return
	}
	got := rows[0]
	mail := got.mail
	got.mail = nil
	want := row{
		from: m.From, to: m.To, recipient: m.To, subject: s.subject, charset: s.charset, hash: got.hash,
		contentType: s.contentType, hasAttach: s.hasAttach, ip: "127.0.0.1", attach: s.attach,
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("%s: row\n%+v, want\n%+v", m.To, got, want)
	}
	text := m.Text
	if w.wire != nil {
		var err error
		if text, err = w.wire.sent(m.To); err != nil {
			t.Error(err)
			return
		}
		if !bytes.HasSuffix(text, m.Text) {
			t.Errorf("%s: the sender itself changed the mail", m.To)
		}
	}
	head, ok := bytes.CutSuffix(mail, text)
	if !ok {
		t.Errorf("%s: %d bytes stored differ from the %d sent", m.To, len(mail), len(text))
		return
	}
	w.checkHead(t, string(head), got.hash, s, m)
}

// checkHead looks at the lines that the daemon has added. By TLS, those that
// the sender added stand behind them.
func (w way) checkHead(t *testing.T, head, hash string, s sample, m senders.Message) {
	t.Helper()
	protocol, tls := "ESMTP", ""
	if s.utf8 {
		protocol = "UTF8SMTP"
	}
	if w.wire == nil {
		protocol += "S"
		tls = ` \(TLSv?1\.[23].*\)`
	}
	pattern := `^Return-Path: <` + regexp.QuoteMeta(m.From) + ">\r\n" +
		`Delivered-To: ` + regexp.QuoteMeta(m.To) + "\r\n" +
		`Received: from \S+ \(\[127\.0\.0\.1\]\)` + ` by mx\.test with ` + protocol + tls +
		` id ` + hash + ` for <` + regexp.QuoteMeta(m.To) + `>; \w{3}, \d+ \w{3} 20\d\d \d\d:\d\d:\d\d [+-]\d{4}` + "\r\n"
	if w.wire != nil {
		pattern += "$" // what was on the wire stands behind it, and nothing else
	}
	unfolded := strings.NewReplacer("\r\n\t", " ", "\r\n ", " ").Replace(head)
	if !regexp.MustCompile(pattern).MatchString(unfolded) {
		t.Errorf("%s: added header\n%s\ndoes not match\n%s", m.To, unfolded, pattern)
	}
}
