package smtp_test

import (
	"math"
	"strings"
	"testing"

	"goguerrillad/internal/smtp"
)

// checkRefusal compares a refusal with the wanted code and enhanced code. "" means no
// refusal.
func checkRefusal(t *testing.T, arg string, got *smtp.Reply, want string) {
	t.Helper()
	switch {
	case got == nil && want != "":
		t.Errorf("%q: accepted, want %s", arg, want)
	case got != nil && want == "":
		t.Errorf("%q: %v, want no refusal", arg, got)
	case got != nil && !strings.HasPrefix(got.Error(), want+" "):
		t.Errorf("%q: %v, want %s", arg, got, want)
	}
}

func TestParseMailParams(t *testing.T) {
	none := smtp.MailParams{Size: -1}
	for _, c := range []struct {
		params  string
		want    smtp.MailParams
		refusal string
	}{
		{"", none, ""},
		{" \t ", none, ""},

		// Known parameters, in any case, in any order, with any blanks.
		{"SIZE=0", smtp.MailParams{Size: 0}, ""},
		{"size=1234", smtp.MailParams{Size: 1234}, ""},
		{"BODY=7BIT", smtp.MailParams{Size: -1, Body: smtp.Body7Bit}, ""},
		{"Body=8bitMime", smtp.MailParams{Size: -1, Body: smtp.Body8BitMIME}, ""},
		{"BODY=BINARYMIME", smtp.MailParams{Size: -1, Body: smtp.BodyBinaryMIME}, ""},
		{"smtputf8", smtp.MailParams{Size: -1, UTF8: true}, ""},
		{"RequireTLS", smtp.MailParams{Size: -1, RequireTLS: true}, ""},
		{"  REQUIRETLS\tSMTPUTF8   BODY=8BITMIME SIZE=7 ",
			smtp.MailParams{Size: 7, Body: smtp.Body8BitMIME, UTF8: true, RequireTLS: true}, ""},

		// Not announced by EHLO, and ignored.
		{"AUTH=<> RET=HDRS ENVID=QQ314159", none, ""},
		{"auth=a+40b.example ret=full envid=a=b SIZE=1", smtp.MailParams{Size: 1}, ""},

		// Sizes of 20 digits; larger numbers become MaxInt64.
		{"SIZE=9223372036854775807", smtp.MailParams{Size: math.MaxInt64}, ""},
		{"SIZE=9223372036854775808", smtp.MailParams{Size: math.MaxInt64}, ""},
		{"SIZE=99999999999999999999", smtp.MailParams{Size: math.MaxInt64}, ""},
		{"SIZE=00000000000000000042", smtp.MailParams{Size: 42}, ""},
		{"SIZE=000000000000000000042", none, "501 5.5.4"},

		// Malformed.
		{"SIZE", none, "501 5.5.4"},
		{"SIZE=", none, "501 5.5.4"},
		{"SIZE=-1", none, "501 5.5.4"},
		{"SIZE=+1", none, "501 5.5.4"},
		{"SIZE=1k", none, "501 5.5.4"},
		{"SIZE=0x10", none, "501 5.5.4"},
		{"SIZE =1", none, "501 5.5.4"},
		{"SIZE=1=2", none, "501 5.5.4"},
		{"BODY", none, "501 5.5.4"},
		{"BODY=9BIT", none, "501 5.5.4"},
		{"SMTPUTF8=yes", none, "501 5.5.4"},
		{"SMTPUTF8=", none, "501 5.5.4"},
		{"REQUIRETLS=1", none, "501 5.5.4"},
		{"AUTH", none, "501 5.5.4"},
		{"RET=", none, "501 5.5.4"},
		{"=1", none, "501 5.5.4"},
		{"-SIZE=1", none, "501 5.5.4"},
		{"SI_ZE=1", none, "501 5.5.4"},
		{">", none, "501 5.5.4"},
		{"ENVID=a\x00b", none, "501 5.5.4"},
		{"SIZE=1\r\nRSET", none, "501 5.5.4"},

		// Given twice.
		{"SIZE=1 SIZE=1", none, "501 5.5.4"},
		{"SMTPUTF8 smtputf8", none, "501 5.5.4"},
		{"RET=FULL ret=HDRS", none, "501 5.5.4"},

		// Unknown parameters, and parameters of other commands or servers.
		{"FOO", none, "555 5.5.4"},
		{"SIZE=1 FOO=BAR", none, "555 5.5.4"},
		{"NOTIFY=NEVER", none, "555 5.5.4"},
		{"BY=120;R", none, "555 5.5.4"},
		{"HOLDFOR=10", none, "555 5.5.4"},
		{"SIZES=1", none, "555 5.5.4"},
		{"ſIZE=1", none, "501 5.5.4"},
	} {
		got, refusal := smtp.ParseMailParams(c.params)
		checkRefusal(t, c.params, refusal, c.refusal)
		if got.Size != c.want.Size {
			t.Errorf("%q: size %d, want %d", c.params, got.Size, c.want.Size)
		}
		if got.Body != c.want.Body {
			t.Errorf("%q: body %d, want %d", c.params, got.Body, c.want.Body)
		}
		if got.UTF8 != c.want.UTF8 {
			t.Errorf("%q: UTF8 %v, want %v", c.params, got.UTF8, c.want.UTF8)
		}
		if got.RequireTLS != c.want.RequireTLS {
			t.Errorf("%q: RequireTLS %v, want %v", c.params, got.RequireTLS, c.want.RequireTLS)
		}
	}
}

func TestParseRcptParams(t *testing.T) {
	for _, c := range []struct{ params, refusal string }{
		{"", ""},
		{"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@b.example", ""},
		{" orcpt=utf-8;bj\u00f6rn@b.example\tnotify=never ", ""},

		{"NOTIFY", "501 5.5.4"},
		{"ORCPT=", "501 5.5.4"},
		{"NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4"},

		{"RRVS=2014-04-03T23:01:00Z", "555 5.5.4"},
		{"SIZE=1", "555 5.5.4"},
		{"SMTPUTF8", "555 5.5.4"},
	} {
		checkRefusal(t, c.params, smtp.ParseRcptParams(c.params), c.refusal)
	}
}

func TestParseBdat(t *testing.T) {
	for _, c := range []struct {
		arg     string
		size    int64
		last    bool
		refusal string
	}{
		{"0", 0, false, ""},
		{"86", 86, false, ""},
		{"0 LAST", 0, true, ""},
		{" 1000 \t last ", 1000, true, ""},
		{"00012 Last", 12, true, ""},

		// Sizes larger than an int64: none of the bytes may run as a command.
		{"9223372036854775808 LAST", math.MaxInt64, true, ""},
		{strings.Repeat("9", 100), math.MaxInt64, false, ""},

		{"", 0, false, "501 5.5.4"},
		{"LAST", 0, false, "501 5.5.4"},
		{"LAST 10", 0, false, "501 5.5.4"},
		{"10LAST", 0, false, "501 5.5.4"},
		{"10 LAST LAST", 0, false, "501 5.5.4"},
		{"10 20", 0, false, "501 5.5.4"},
		{"10 ſaLAST", 0, false, "501 5.5.4"},
		{"10 LAſT", 0, false, "501 5.5.4"},
		{"-1", 0, false, "501 5.5.4"},
		{"+1", 0, false, "501 5.5.4"},
		{"1.5", 0, false, "501 5.5.4"},
		{"0x1F", 0, false, "501 5.5.4"},
		{"١", 0, false, "501 5.5.4"},
	} {
		size, last, refusal := smtp.ParseBdat(c.arg)
		checkRefusal(t, c.arg, refusal, c.refusal)
		if size != c.size {
			t.Errorf("ParseBdat(%q): size %d, want %d", c.arg, size, c.size)
		}
		if last != c.last {
			t.Errorf("ParseBdat(%q): last %v, want %v", c.arg, last, c.last)
		}
	}
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{"", "SIZE=1 BODY=8BITMIME SMTPUTF8", "auth=<> ret=full envid=x REQUIRETLS", "NOTIFY=NEVER ORCPT=rfc822;a@b",
		"SIZE=99999999999999999999", "SIZE=1 SIZE=2", "=", "\tX\x00=\xff "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, params string) {
		m, refusal := smtp.ParseMailParams(params)
		switch {
		case m.Size < -1, m.Body > smtp.BodyBinaryMIME:
			t.Errorf("size %d, body %d", m.Size, m.Body)
		case refusal != nil && (m != smtp.MailParams{Size: -1} || refusal.Code != 501 && refusal.Code != 555):
			t.Errorf("parameters %+v with refusal %v", m, refusal)
		case refusal == nil:
			// No parameter may appear twice, in any case.
			if _, again := smtp.ParseMailParams(params + " " + strings.ToLower(params)); again == nil && strings.Trim(params, " \t") != "" {
				t.Errorf("%q accepted twice", params)
			}
		}
		if r := smtp.ParseRcptParams(params); r != nil && r.Code != 501 && r.Code != 555 {
			t.Errorf("RCPT: refusal %v, want 501 or 555", r)
		}
	})
}

func FuzzBdat(f *testing.F) {
	for _, s := range []string{"0", "86 LAST", " 1\tlast", "99999999999999999999", "LAST", "", "-1", "1 2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		size, last, refusal := smtp.ParseBdat(arg)
		if size < 0 || refusal != nil && (size != 0 || last || refusal.Code != 501) {
			t.Errorf("size %d, last %v, refusal %v", size, last, refusal)
		}
		if fields := strings.Fields(arg); refusal == nil && (len(fields) == 2) != last {
			t.Errorf("%q: last %v", arg, last)
		}
	})
}
