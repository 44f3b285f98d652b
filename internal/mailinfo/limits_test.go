package mailinfo_test

import (
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
)

// TestLimits: Parse reports an attachment within each limit, and none beyond it.
func TestLimits(t *testing.T) {
	body := func(boundary string, parts ...string) string {
		return "--" + boundary + "\r\n" + strings.Join(parts, "\r\n--"+boundary+"\r\n") + "\r\n--" + boundary + "--\r\n"
	}
	attachment := "Content-Disposition: attachment; filename=a\r\n\r\nx"
	for _, tt := range []struct {
		name    string
		limit   int
		message func(n int) string
	}{
		{"bytes of a boundary", 1000, func(n int) string {
			boundary := strings.Repeat("b", n)
			return "Content-Type: multipart/mixed; boundary=" + boundary + "\r\n\r\n" + body(boundary, attachment)
		}},
		{"multiparts inside each other", 64, func(n int) string {
			message := attachment
			for depth := range n {
				boundary := fmt.Sprint("b", depth)
				message = "Content-Type: multipart/mixed; boundary=" + boundary + "\r\n\r\n" + body(boundary, message)
			}
			return message
		}},
		{"parts", 10_000, func(n int) string {
			parts := make([]string, n)
			parts[n-1] = attachment
			return multi(body("b", parts...))
		}},
		{"parameters", 1000, func(n int) string {
			return "Content-Disposition: attachment" + strings.Repeat("; x=y", n-1) + "; filename=a\r\n\r\nx"
		}},
		{"bytes of a field", 1 << 16, func(n int) string {
			const start, end = "attachment; x=", "; filename=a"
			return "Content-Disposition:" + start + strings.Repeat("y", n-len(start+end)) + end + "\r\n\r\nx"
		}},
	} {
		for n, want := range map[int]string{tt.limit - 1: "a", tt.limit: "a", tt.limit + 1: ""} {
			got := ""
			for _, a := range mailinfo.Parse([]byte(tt.message(n))).Attachments {
				got += a.Name
			}
			if got != want {
				t.Errorf("%d %s: attachment %q, want %q", n, tt.name, got, want)
			}
		}
	}
	for n, want := range map[int]int{999: 999, 1000: 1000, 1001: 1000} {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = "Content-Disposition: attachment\r\n\r\n"
		}
		if got := len(mailinfo.Parse([]byte(multi(body("b", parts...)))).Attachments); got != want {
			t.Errorf("%d of %d attachments, want %d", got, n, want)
		}
	}
}

// TestLongValues: a type that is too long becomes the default. A label or a file name
// that is too long is cut at a character.
func TestLongValues(t *testing.T) {
	for n, want := range map[int]bool{254: true, 255: true, 256: false} {
		kind := "application/" + strings.Repeat("x", n-len("application/"))
		info := mailinfo.Parse([]byte("Content-Type: " + kind + "\r\n\r\ntext"))
		if got := info.ContentType == kind; got != want || !got && info.ContentType != "text/plain" {
			t.Errorf("type of %d bytes: %q", n, info.ContentType)
		}
		label := strings.Repeat("x", n)
		if got := mailinfo.Parse([]byte("Content-Type: text/plain; charset=" + label + "\r\n\r\ntext")).Charset; got != label[:min(n, 255)] {
			t.Errorf("label of %d bytes: %q", n, got)
		}
	}
	for _, tt := range []struct{ name, want string }{
		{strings.Repeat("x", 1023), strings.Repeat("x", 1023)},
		{strings.Repeat("x", 1024), strings.Repeat("x", 1024)},
		{strings.Repeat("x", 1025), strings.Repeat("x", 1024)},
		{strings.Repeat("x", 1022) + "ä", strings.Repeat("x", 1022) + "ä"},
		{strings.Repeat("x", 1023) + "ä", strings.Repeat("x", 1023)},
	} {
		if got := names("Content-Disposition: attachment; filename=" + tt.name + "\r\n\r\nabc"); got != tt.want+":3" {
			t.Errorf("name of %d bytes: %q", len(tt.name), got)
		}
	}
}
