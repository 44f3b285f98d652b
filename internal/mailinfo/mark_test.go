package mailinfo_test

import (
	"testing"

	"goguerrillad/internal/mailinfo"
)

// TestByteOrderMark: Parse reads all fields if a byte order mark precedes the first
// field.
func TestByteOrderMark(t *testing.T) {
	const (
		mark    = "\xef\xbb\xbf"
		head    = "Subject: hello\r\nContent-Type: multipart/mixed;\r\n boundary=b\r\n"
		body    = "\r\n--b\r\nContent-Type: text/html; charset=koi8-r\r\n\r\nx\r\n--b\r\nContent-Type: image/png; name=a\r\n\r\nabc\r\n--b--\r\n"
		added   = "Return-Path: <>\r\nReceived: from x\r\n\tby y\r\n"
		another = "X: y\r\n"
	)
	want := mailinfo.Info{
		Subject: "hello", Charset: "koi8-r", ContentType: "multipart/mixed",
		Attachments: []mailinfo.Attachment{{Name: "a", Type: "image/png", Size: 3}},
	}
	for name, message := range map[string]string{
		"no mark":                 head + body,
		"before the first field":  mark + head + body,
		"before another field":    mark + another + head + body,
		"after the added fields":  added + mark + head + body,
		"before an mbox line":     mark + "From x Fri Mar  6 10:00:00 2026\r\n" + head + body,
		"before the empty line":   head + mark + body,
		"before a field of lines": mark + "X: y\r\n z\r\n" + head + body,
	} {
		wantInfo(t, name, mailinfo.Parse([]byte(message)), want)
	}
	part := mark + "Content-Type: image/png; name=a\r\n\r\nabc"
	if got := names(multi("--b", part, "--b--")); got != "a:3" {
		t.Errorf("before a field of a part: attachments %q, want a:3", got)
	}
	for _, message := range []string{mark + "\r\nSubject: x\r\n", mark + " Subject: x\r\n", mark, mark + mark} {
		if got := mailinfo.Parse([]byte(message)).Subject; got != "" {
			t.Errorf("%q: subject %q, want none", message, got)
		}
	}
}

// TestByteOrderMarkInText: Parse removes byte order marks from subjects and file names
// in any encoding.
func TestByteOrderMarkInText(t *testing.T) {
	tests := []struct{ field, want string }{
		{" \xef\xbb\xbfa", "a"},
		{" a\xef\xbb\xbfb", "ab"},
		{" =?utf-8?B?77u/YQ==?=", "a"},
		{" x =?utf-8?B?77u/YQ==?=", "x a"},
		{" =?utf-8?Q?a?= =?utf-8?B?77u/Yg==?=", "ab"},
		{" =?utf-8?B?77u/77u/YQ==?=", "a"},
		{" =?utf-16?B?/v8AYQ==?= =?utf-16?B?/v8AYg==?=", "ab"},
		{" =?utf-16be?B?/v8AYf7/AGI=?=", "ab"},
		{" =?gb18030?B?hDGVM2E=?=", "a"},
		{" \xef\xbb\xbf", ""},
	}
	for _, tt := range tests {
		if got := subject(tt.field); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.field, got, tt.want)
		}
	}
	for _, disposition := range []string{"filename=\"\xef\xbb\xbfa\"", "filename*=utf-8''%EF%BB%BFa%EF%BB%BF", "filename=\"=?utf-8?B?77u/YQ==?=\""} {
		if got := names("Content-Disposition: attachment; " + disposition + "\r\n\r\nabc"); got != "a:3" {
			t.Errorf("%s: attachments %q, want a:3", disposition, got)
		}
	}
}
