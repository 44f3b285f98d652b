package newmail_test

import (
	"slices"
	"testing"

	"goguerrillad/internal/savemail/newmail"
)

// TestLosses: only columns that lose values of current email are listed.
func TestLosses(t *testing.T) {
	latin1 := newmail.NewCharset("latin1", 1, func(r rune) bool { return r < 0x100 }, false)
	utf8mb3 := newmail.NewCharset("utf8mb3", 3, nil, false)
	for _, tt := range []struct {
		column newmail.Column
		want   string // "" = nothing
	}{
		{newmail.Column{Name: "from"}, ""},
		{newmail.Column{Name: "from", Chars: 254}, ""},
		{newmail.Column{Name: "from", Chars: 253}, "from cuts senders after 253 characters"},
		{newmail.Column{Name: "from", Chars: 255, Charset: latin1}, "from replaces characters outside latin1"},
		{newmail.Column{Name: "from", Chars: 128, Charset: latin1}, "from cuts senders after 128 characters and replaces characters outside latin1"},
		{newmail.Column{Name: "from", Type: "varbinary(128)", Bytes: 128}, "from cuts senders after 128 characters"},
		{newmail.Column{Name: "from", Chars: newmail.Nothing}, "from cuts senders after 0 characters"},
		{newmail.Column{Name: "to", Chars: 254}, ""},
		{newmail.Column{Name: "to", Chars: 128}, "to refuses recipients of more than 128 characters"},
		{newmail.Column{Name: "recipient", Charset: latin1}, "recipient refuses recipients with characters outside latin1"},
		{newmail.Column{Name: "recipient", Chars: 128, Charset: utf8mb3}, "recipient refuses recipients of more than 128 characters or with characters outside utf8mb3"},
		{newmail.Column{Name: "subject", Chars: 255}, ""},
		{newmail.Column{Name: "subject", Charset: utf8mb3}, "subject replaces characters outside utf8mb3"},
		{newmail.Column{Name: "attach_info", Charset: latin1}, "attach_info replaces characters outside latin1"},
		{newmail.Column{Name: "ip_addr", Chars: 39, Charset: latin1}, ""},
		{newmail.Column{Name: "ip_addr", Chars: 15}, "ip_addr cuts IPv6 addresses"},
		{newmail.Column{Name: "ip_addr", Type: "varbinary(16)", Bytes: 16}, ""}, // packed
		{newmail.Column{Name: "charset", Chars: 32, Charset: latin1}, ""},
	} {
		var want []string
		if tt.want != "" {
			want = []string{tt.want}
		}
		if got := columns(t, tt.column).Losses(); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", tt.column, got, want)
		}
	}
}
