package mailinfo_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
)

// TestLimits: Parse reports an attachment within each limit, and no attachment beyond
// it.
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
		{"nested multiparts", 64, func(n int) string {
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
				t.Errorf("%d %s: attachments %q, want %q", n, tt.name, got, want)
			}
		}
	}
	for n, want := range map[int]int{999: 999, 1000: 1000, 1001: 1000} {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = "Content-Disposition: attachment\r\n\r\n"
		}
		if got := len(mailinfo.Parse([]byte(multi(body("b", parts...)))).Attachments); got != want {
			t.Errorf("%d of %d attachments reported, want %d", got, n, want)
		}
	}
}

// TestLongValues: a content type that is too long becomes text/plain, and a label or a
// file name that is too long is cut at a character.
func TestLongValues(t *testing.T) {
	for n, want := range map[int]bool{254: true, 255: true, 256: false} {
		kind := "application/" + strings.Repeat("x", n-len("application/"))
		info := mailinfo.Parse([]byte("Content-Type: " + kind + "\r\n\r\ntext"))
		if got := info.ContentType == kind; got != want || !got && info.ContentType != "text/plain" {
			t.Errorf("type of %d bytes: got %q", n, info.ContentType)
		}
		label := strings.Repeat("x", n)
		if got := mailinfo.Parse([]byte("Content-Type: text/plain; charset=" + label + "\r\n\r\ntext")).Charset; got != label[:min(n, 255)] {
			t.Errorf("label of %d bytes: got %q", n, got)
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
			t.Errorf("name of %d bytes: attachments %q, want %s:3", len(tt.name), got, tt.want)
		}
	}
}

// TestBounds: the result is bounded and the time is linear in the size of the message:
// with quadratic time, the test would not end.
func TestBounds(t *testing.T) {
	const n = 100_000
	part := "--b\r\nContent-Disposition: attachment; filename=\"<&>" + strings.Repeat("\u2028\x01", 100) + "\"\r\n\r\n"
	nested := ""
	for i := range 1000 {
		nested += fmt.Sprintf("Content-Type: multipart/mixed; boundary=%s%d\r\n\r\n--%[1]s%[2]d\r\n", strings.Repeat("x", 900), i)
	}
	comments := "Content-Type: text/" + strings.Repeat("()", 30_000) + "plain\r\n\r\n--b\r\n"
	for name, message := range map[string]string{
		"attachments":   multi(strings.Repeat(part, n/10)),
		"parts":         multi(strings.Repeat("--b\r\n", n)),
		"nested":        nested + strings.Repeat("--"+strings.Repeat("x", 903)+"\r\n", n/10),
		"delimiters":    multi(strings.Repeat("--bb\r\n", n)),
		"hyphens":       multi(strings.Repeat("--", n)),
		"comments":      multi("--b", strings.Repeat(comments, 100)),
		"comment":       multi("--b", "Content-Type: "+strings.Repeat("(", n)),
		"parameters":    multi("--b", "Content-Type: image/png"+strings.Repeat("; a=b", n)),
		"sections":      multi("--b", strings.Repeat("Content-Disposition: attachment"+strings.Repeat("; filename*1=b", 4000)+"\r\n\r\n--b\r\n", 100)),
		"equals signs":  multi("--b", "Content-Disposition: attachment"+strings.Repeat("=", n)),
		"backslashes":   multi("--b", "Content-Disposition: attachment; filename=\""+strings.Repeat("\\", n)),
		"fields":        strings.Repeat("A:\r\n", n),
		"continuations": "Content-Type:" + strings.Repeat("\r\n ", n),
		"brackets":      "Reply-To: " + strings.Repeat("<", n),
		"base64":        multi("--b", "Content-Transfer-Encoding: base64", at("a"), strings.Repeat("=", n)),
		"qp":            multi("--b", "Content-Transfer-Encoding: quoted-printable", at("a"), strings.Repeat("=", n), strings.Repeat(" ", n)),
	} {
		info := mailinfo.Parse([]byte(message))
		out, err := json.Marshal(info.Attachments)
		if err != nil || len(out) > 65_535 {
			t.Errorf("%s: attachments of %d bytes as JSON, error %v", name, len(out), err)
		}
		if name == "attachments" && len(info.Attachments) < 20 {
			t.Errorf("%s: %d attachments, want at least 20", name, len(info.Attachments))
		}
	}
	if got := names(multi(strings.Repeat("--b\r\n", n) + at("a"))); got != "" {
		t.Errorf("attachments %q after too many parts, want none", got)
	}
	if got := len(mailinfo.Parse([]byte(multi(strings.Repeat("--b\r\nContent-Disposition: attachment\r\n\r\n", 900)))).Attachments); got != 900 {
		t.Errorf("%d attachments, want 900", got)
	}
}

// TestAddressMemory: an address does not keep its field in memory.
func TestAddressMemory(t *testing.T) {
	const n, size = 100, 60_000
	rest := strings.Repeat("x", size)
	message := []byte("Message-ID: <a@b> " + rest + "\r\nReply-To: <a@b> " + rest + "\r\nSender: a@b," + rest + "\r\n\r\n")
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := allocated()
	var all []mailinfo.Info
	for range n {
		all = append(all, mailinfo.Parse(message))
	}
	if after := allocated(); after > before+n*size {
		t.Errorf("%d results use %d bytes", n, after-before)
	}
	for _, info := range all {
		if info.MessageID != "a@b" || info.ReplyTo != "a@b" || info.Sender != "a@b" {
			t.Fatalf("%+v", info)
		}
	}
}
