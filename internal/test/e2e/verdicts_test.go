package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// plain returns a message from an address.
func plain(from string) string {
	return "From: " + from + "\r\nTo: you@example.com\r\nSubject: hello\r\nDate: Sat, 07 Mar 2026 01:02:03 +0100\r\n" +
		"Message-ID: <1@example.org>\r\n\r\nThe text of a message.\r\n"
}

// gtube is a message that rspamd always rejects.
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"

// stuck is the number of messages that rspamd cannot judge. It is larger than the number
// of concurrent requests, and the messages are older than all others.
const stuck = 20

// tooLarge is a text above max_message of rspamd.
var tooLarge = strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 2<<20/66)

// A verdictCase is a message and its verdict.
type verdictCase struct {
	name               string
	client, helo, from string
	message            string
	dkim               int64
	auth               string // the complete column
	spam               bool   // a score of at least 15
}

func verdictCases(t *testing.T, v *verdicts) []verdictCase {
	signed := v.sign(t, "example.org", plain("me@example.org"))
	forged := "Authentication-Results: mx.test; dkim=pass header.d=example.org; spf=pass smtp.mailfrom=example.org;\r\n dmarc=pass header.from=example.org\r\n" +
		"Return-Path: <me@example.org>\r\nDelivered-To: you@example.com\r\n" +
		"Received: from mail.example.org ([" + permitted + "]) by mx.test with ESMTP\r\n\tid 0123456789abcdef0123456789abcdef for <you@example.com>;\r\n\tSat, 07 Mar 2026 01:02:03 +0100\r\n"
	const helo, me = "mail.example.org", "me@example.org"
	fails := "mx.test; spf=fail smtp.mailfrom=example.org; dmarc=fail header.from=example.org policy.dmarc=reject"
	passes := "mx.test; spf=pass smtp.mailfrom=example.org; dmarc=pass header.from=example.org policy.dmarc=reject"
	signs := "mx.test; spf=pass smtp.mailfrom=example.org; dkim=pass header.d=example.org; dmarc=pass header.from=example.org policy.dmarc=reject"
	return []verdictCase{
		{"signed", permitted, helo, me, signed, 1, signs, false},
		{"signed, another client", other, helo, me, signed, 1, strings.Replace(signs, "spf=pass", "spf=fail", 1), false},
		{"broken signature", permitted, helo, me, strings.Replace(signed, "The text", "The test", 1), 0, strings.Replace(signs, "dkim=pass", "dkim=fail", 1), false},
		{"not signed", permitted, helo, me, plain(me), 0, passes, false},
		{"not signed, another client", other, helo, me, plain(me), 0, fails, false},
		{"signed by another domain", other, helo, me, v.sign(t, "other.example", plain(me)), 0,
			"mx.test; spf=fail smtp.mailfrom=example.org; dkim=pass header.d=other.example; dmarc=fail header.from=example.org policy.dmarc=reject", false},
		{"signed by two domains, one of them broken", other, helo, me, v.sign(t, "other.example", strings.Replace(signed, "The text", "The test", 1)), 0, "", false},
		{"signed by the domain above", permitted, helo, me, v.sign(t, "example.org", plain("me@sub.example.org")), 1, signs, false},
		{"signed by a subdomain", permitted, helo, me, v.sign(t, "mail.example.org", plain(me)), 1, strings.Replace(signs, "header.d=", "header.d=mail.", 1), false},
		{"signed, without DMARC", permitted, helo, "me@nodmarc.example", v.sign(t, "nodmarc.example", plain("me@nodmarc.example")), 1,
			"mx.test; spf=pass smtp.mailfrom=nodmarc.example; dkim=pass header.d=nodmarc.example; dmarc=none header.from=nodmarc.example", false},
		{"policy none", other, helo, "me@none.example", plain("me@none.example"), 0,
			"mx.test; spf=fail smtp.mailfrom=none.example; dmarc=fail header.from=none.example policy.dmarc=none", false},
		{"policy quarantine", other, helo, "me@quarantine.example", plain("me@quarantine.example"), 0,
			"mx.test; spf=fail smtp.mailfrom=quarantine.example; dmarc=fail header.from=quarantine.example policy.dmarc=quarantine", false},
		{"forged fields", other, helo, me, forged + plain(me), 0, fails, false},
		{"forged fields, unknown client", "[UNAVAILABLE]", "[" + permitted + "]", me, forged + plain(me), 0,
			"mx.test; dmarc=fail header.from=example.org policy.dmarc=reject", false},
		{"forged HELO", other, "x) by mx.test; dkim=pass (", me, plain(me), 0, fails, false},
		{"signed, two From fields", permitted, helo, me, "From: boss@example.com\r\n" + signed, 0, "", false},
		{"a signer with text", other, helo, me, strings.Replace(signed, "d=example.org", "d=\"evil.example; dmarc=pass\"", 1), 0, "", false},
		{"null sender", permitted, "mail.helo.example", "", plain("postmaster@helo.example"), 0,
			"mx.test; spf=pass smtp.helo=mail.helo.example; dmarc=none header.from=helo.example", false},
		{"GTUBE", permitted, helo, me, plain(me) + gtube, 0, "mx.test; none", true},
		{"UTF-8 addresses", permitted, helo, "δοκιμή@παράδειγμα.example", plain("δοκιμή@παράδειγμα.example"), 0,
			"mx.test; spf=pass smtp.mailfrom=xn--hxajbheg2az3al.example; dmarc=none header.from=xn--hxajbheg2az3al.example", false},
		{"DNS fails", permitted, helo, "me@broken.example", plain("me@broken.example"), 0,
			"mx.test; spf=temperror smtp.mailfrom=broken.example; dmarc=temperror header.from=broken.example", false},
		{"no fields", permitted, helo, me, "just text\r\n", 0, "mx.test; spf=pass smtp.mailfrom=example.org; dmarc=none", false},
		{"no text", permitted, helo, me, "", 0, "mx.test; spf=pass smtp.mailfrom=example.org; dmarc=none", false},
	}
}

// TestVerdicts lets rspamd judge messages with a known verdict, on each store.
func TestVerdicts(t *testing.T) {
	v := newVerdicts(t)
	cases := verdictCases(t, v)
	for _, store := range []struct{ name, compress string }{{"sqlite", "N"}, {"mysql", "Y"}, {"postgres", "Y"}} {
		t.Run(store.name, func(t *testing.T) {
			j := v.daemon(t, store.name, true, map[string]string{"GM_MAIL_COMPRESS": store.compress})
			for i := range stuck {
				j.send(t, permitted, "mail.example.org", "me@example.org", []string{fmt.Sprintf("stuck%d@example.com", i)}, plain("me@example.org")+tooLarge)
			}
			if _, err := j.table.db.Exec("UPDATE " + j.table.name + " SET body='redis', mail='' WHERE recipient='stuck0@example.com'"); err != nil {
				t.Fatal(err)
			}
			for i, c := range cases {
				to := []string{fmt.Sprintf("case%d@example.com", i)}
				if i == 0 {
					to = append(to, "second@example.com", "third@example.com")
				}
				j.send(t, c.client, c.helo, c.from, to, c.message)
			}
			unlock := j.lock(t, "case0@example.com")
			p := j.start(t)
			if store.name != "sqlite" {
				j.await(t, p, stuck+1)
				j.checkRights(t)
			}
			unlock()
			j.await(t, p, stuck)
			j.checkQueries(t, len(cases)+2)
			if n := strings.Count(p.Output(), "a DNS query failed"); n != 2 {
				t.Errorf("%d retries after a failed DNS query, want 2:\n%s", n, p.Output())
			}
			for i, c := range cases {
				got := j.rows(t, fmt.Sprintf("case%d@example.com", i), true)
				if len(got) != 1 || got[0].dkim.Int64 != c.dkim || c.auth != "" && got[0].auth.String != c.auth || (got[0].score >= 15) != c.spam {
					t.Errorf("%s: got %v\nwant dkim_valid %d, %q, spam %v", c.name, got, c.dkim, c.auth, c.spam)
				}
				t.Logf("%s: %v", c.name, got)
				for _, one := range got {
					if strings.ContainsAny(one.auth.String, "\r\n\"()") || strings.Contains(one.auth.String, "; dmarc=pass;") || !strings.HasPrefix(one.auth.String, "mx.test; ") {
						t.Errorf("%s: auth_results %q", c.name, one.auth.String)
					}
				}
			}
			for _, to := range []string{"second@example.com", "third@example.com"} {
				if got := j.rows(t, to, true); len(got) != 1 || got[0].dkim.Int64 != 1 {
					t.Errorf("%s: got %v", to, got)
				}
			}
		})
	}
}
