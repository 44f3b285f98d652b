package mailinfo_test

import (
	"encoding/json"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"goguerrillad/internal/mailinfo"
)

// check tests the properties that the Info of every message has.
func check(t *testing.T, message []byte) mailinfo.Info {
	t.Helper()
	info := mailinfo.Parse(message)
	texts := []string{info.Subject, info.Charset, info.ContentType, info.MessageID, info.ReplyTo, info.Sender}
	var sizes int64
	for _, a := range info.Attachments {
		texts = append(texts, a.Name, a.Type)
		sizes += a.Size
		if a.Size < 0 || !isType(a.Type) {
			t.Errorf("invalid attachment %+v", a)
		}
	}
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00\ufeff") {
			t.Errorf("value %q contains a line end, NUL, a byte order mark or invalid UTF-8", s)
		}
	}
	if !isType(info.ContentType) || info.Charset == "" {
		t.Errorf("invalid type %q or charset %q", info.ContentType, info.Charset)
	}
	if sizes > int64(len(message)) {
		t.Errorf("attachments of %d bytes in a message of %d bytes", sizes, len(message))
	}
	// In every charset, a byte is at most three bytes of UTF-8.
	if len(info.Subject) > 3*len(message) {
		t.Errorf("subject of %d bytes in a message of %d bytes", len(info.Subject), len(message))
	}
	if out, err := json.Marshal(info.Attachments); err != nil || len(out) > 65_535 {
		t.Errorf("attachments of %d bytes as JSON, error %v", len(out), err)
	}
	return info
}

func isType(s string) bool {
	main, sub, ok := strings.Cut(s, "/")
	return ok && main != "" && sub != "" && strings.ToLower(s) == s && !strings.ContainsAny(sub, "/; \t\"")
}

// visible returns s as it appears in a subject or a file name.
func visible(s string) string {
	return strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ", "\ufeff", "").Replace(s)
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no messages in testdata, error %v", err)
	}
	for _, file := range files {
		message, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		info := check(t, message)
		// The body does not change the values of the header.
		if head, _, ok := strings.Cut(string(message), "\r\n\r\n"); ok && utf8.ValidString(head) {
			alone := mailinfo.Parse([]byte(head + "\r\n\r\n"))
			if alone.Subject != info.Subject || alone.ContentType != info.ContentType {
				t.Errorf("subject %q, type %q, but without the body %q, %q", info.Subject, info.ContentType, alone.Subject, alone.ContentType)
			}
		}
	})
}

func FuzzWord(f *testing.F) {
	for _, field := range []string{
		"hello", "grüße", "=?utf-8?Q?a=C3?= =?utf-8?B?qQ==?=", "=?iso-2022-jp*ja?B?GyRCRnw=?=\r\n\t=?ISO-2022-JP?B?S1wbKEI=?=",
		"=?utf-16?B?/v8AZQDp?=", "=?gb18030?Q?=81=30?=", "\xf0\xd2 =?koi8-r?q?=F0_?=", "=?x?Q?a?==?", "=?utf-8?Q?=00=0D=0A?=",
		"=?big5?B?iGI=?= =?euc-jp?Q?=8F=A1?=", "=?hz-gb-2312?Q?~{?=", "=?utf-8?B?=?==?utf-8?Q?=?=?=",
	} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		check(t, []byte("Subject: "+field+"\r\n\r\n"))
		text := visible(strings.ToValidUTF8(field, "?"))
		if strings.Contains(text, "=?") || strings.TrimSpace(text) != text {
			return // Parse decodes encoded words and can remove blanks around text
		}
		for _, encoder := range []mime.WordEncoder{mime.QEncoding, mime.BEncoding} {
			encoded := encoder.Encode("utf-8", text)
			if got := subject(" " + encoded); got != text {
				t.Errorf("%q: got %q, want %q", encoded, got, text)
			}
		}
	})
}

func FuzzParams(f *testing.F) {
	for _, field := range []string{
		"attachment; filename=\"a b.txt\"", "attachment; filename*=utf-8''%C3%A4", "attachment; filename*1*=%a; filename*0*=koi8-r''%F0",
		"inline; (c (d\\)) filename = x y ; =;;\"", "filename=\"a\\\"b\\c", "attachment; filename=\"=?utf-8?B?w6Q=?=\"", "x; filename*0=a; filename*", "a; b=\"=\x18?utf-8?B?w6QZ?=",
	} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		check(t, []byte("Content-Disposition: "+field+"\r\nContent-Type: application/x; "+field+"\r\n\r\n"))
		name := strings.TrimSpace(visible(strings.ToValidUTF8(field, "?")))
		// A parameter cannot contain control characters.
		name = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, name))
		if len(name) > 1000 || strings.Contains(name, "=?") {
			return
		}
		header := "Content-Disposition: " + mime.FormatMediaType("attachment", map[string]string{"filename": name})
		got := mailinfo.Parse([]byte(header + "\r\n\r\n"))
		if len(got.Attachments) != 1 || got.Attachments[0].Name != name {
			t.Errorf("%s: got %+v, want %q", header, got.Attachments, name)
		}
	})
}
