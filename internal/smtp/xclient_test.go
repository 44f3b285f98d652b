package smtp_test

import (
	"net/netip"
	"strings"
	"testing"

	"goguerrillad/internal/smtp"
)

func TestParseXClient(t *testing.T) {
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		arg  string
		want smtp.XClient
	}{
		{"ADDR=192.0.2.1 NAME=[UNAVAILABLE]", smtp.XClient{HasAddr: true, Addr: addr("192.0.2.1")}},
		{"addr=192.0.2.1 Port=4321 name=mail.example.org", smtp.XClient{HasAddr: true, Addr: addr("192.0.2.1"), Port: 4321}},
		{"ADDR=IPV6:2001:db8::1", smtp.XClient{HasAddr: true, Addr: addr("2001:db8::1")}},
		{"ADDR=ipv6:::ffff:192.0.2.1", smtp.XClient{HasAddr: true, Addr: addr("192.0.2.1")}},
		{"ADDR=[UNAVAILABLE] PORT=[unavailable]", smtp.XClient{HasAddr: true}},
		{"HELO=mail.example.org PROTO=esmtp", smtp.XClient{HasHelo: true, Helo: "mail.example.org", Proto: "ESMTP"}},
		{"HELO=[UNAVAILABLE] PROTO=SMTP", smtp.XClient{HasHelo: true, Proto: "SMTP"}},
		{"LOGIN=me+2Byou+40example.org", smtp.XClient{HasLogin: true, Login: "me+you@example.org"}},
		{"LOGIN=me+you@example.org", smtp.XClient{HasLogin: true, Login: "me+you@example.org"}},
		{"LOGIN=+30+39+41+4A+4F", smtp.XClient{HasLogin: true, Login: "09AJO"}},
		{"LOGIN=me+2byou", smtp.XClient{HasLogin: true, Login: "me+2byou"}},
		{"LOGIN=+4f", smtp.XClient{HasLogin: true, Login: "+4f"}},
		{"LOGIN=+4G", smtp.XClient{HasLogin: true, Login: "+4G"}},
		{"LOGIN=+/0", smtp.XClient{HasLogin: true, Login: "+/0"}},
		{"LOGIN=+4:", smtp.XClient{HasLogin: true, Login: "+4:"}},
		{"LOGIN=+4@", smtp.XClient{HasLogin: true, Login: "+4@"}},
		{"LOGIN=+4", smtp.XClient{HasLogin: true, Login: "+4"}},
		{"LOGIN=+", smtp.XClient{HasLogin: true, Login: "+"}},
		{"LOGIN=[UNAVAILABLE]", smtp.XClient{HasLogin: true}},
		{"LOGIN=a=b", smtp.XClient{HasLogin: true, Login: "a=b"}},
		{"NAME=[TEMPUNAVAIL] REVERSE_NAME=x DESTADDR=127.0.0.1 DESTPORT=25", smtp.XClient{}},
		{"ADDR=192.0.2.1  \t ADDR=192.0.2.2", smtp.XClient{HasAddr: true, Addr: addr("192.0.2.2")}},
		{"HELO=" + strings.Repeat("a", 255), smtp.XClient{HasHelo: true, Helo: strings.Repeat("a", 255)}},
	} {
		got, refusal := smtp.ParseXClient(tt.arg)
		if refusal != nil {
			t.Errorf("%q: %v", tt.arg, refusal)
		}
		if got.HasAddr != tt.want.HasAddr || got.Addr != tt.want.Addr {
			t.Errorf("%q: address %v (%v), want %v (%v)", tt.arg, got.Addr, got.HasAddr, tt.want.Addr, tt.want.HasAddr)
		}
		if got.Port != tt.want.Port {
			t.Errorf("%q: port %d, want %d", tt.arg, got.Port, tt.want.Port)
		}
		if got.HasHelo != tt.want.HasHelo || got.Helo != tt.want.Helo {
			t.Errorf("%q: HELO name %q (%v), want %q (%v)", tt.arg, got.Helo, got.HasHelo, tt.want.Helo, tt.want.HasHelo)
		}
		if got.Proto != tt.want.Proto {
			t.Errorf("%q: protocol %q, want %q", tt.arg, got.Proto, tt.want.Proto)
		}
		if got.HasLogin != tt.want.HasLogin || got.Login != tt.want.Login {
			t.Errorf("%q: login %q (%v), want %q (%v)", tt.arg, got.Login, got.HasLogin, tt.want.Login, tt.want.HasLogin)
		}
	}
	for _, arg := range []string{
		"", " ", "ADDR", "ADDR=", "=x", "FOO=x", "ADDR=localhost", "ADDR=192.0.2.1:25", "ADDR=[192.0.2.1]", "ADDR=2001:db8::1",
		"ADDR=IPV6:192.0.2.1", "ADDR=IPV6:fe80::1%eth0", "ADDR=192.0.2.1 x", "PORT=65536", "PORT=-1", "PORT=x", "PROTO=LMTP",
		"DESTADDR=x", "DESTPORT=x", "HELO=a+0D+0Ab", "LOGIN=a+00", "HELO=" + strings.Repeat("a", 256), "NAME=a\x7f",
	} {
		if got, refusal := smtp.ParseXClient(arg); refusal == nil || refusal.Code != 501 || got != (smtp.XClient{}) {
			t.Errorf("%q: accepted as %+v or refused by %v, want only 501", arg, got, refusal)
		}
	}
}

// FuzzParseXClient checks the properties of the results.
func FuzzParseXClient(f *testing.F) {
	for _, s := range []string{"ADDR=192.0.2.1 NAME=x", "ADDR=IPV6:::1 LOGIN=a+2Bb", "HELO=+0D+0A", "PORT=1 PROTO=ESMTP"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		x, refusal := smtp.ParseXClient(arg)
		if refusal != nil {
			if x != (smtp.XClient{}) || refusal.Code != 501 {
				t.Errorf("%q: %+v with refusal %v", arg, x, refusal)
			}
			return
		}
		for _, s := range []string{x.Helo, x.Login} {
			if len(s) > 255 || len(s) > len(arg) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%q: value %q", arg, s)
			}
		}
		if x.Addr.IsValid() && (!x.HasAddr || x.Addr.Zone() != "" || x.Addr.Is4In6()) {
			t.Errorf("%q: address %v", arg, x.Addr)
		}
	})
}
