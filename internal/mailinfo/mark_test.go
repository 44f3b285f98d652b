package mailinfo_test

import (
	"reflect"
	"testing"

	"goguerrillad/internal/mailinfo"
)

// A byte order mark before the first header field, as some senders write it,
// costs neither that field nor those after it.
func TestByteOrderMark(t *testing.T) {
	const (
		mark    = "\xef\xbb\xbf"
		head    = "Subject: hello\r\nContent-Type: multipart/mixed;\r\n boundary=b\r\n"
		body    = "\r\n--b\r\nContent-Type: text/html; charset=koi8-r\r\n\r\nx\r\n--b\r\nContent-Type: image/png; name=a\r\n\r\nabc\r\n--b--\r\n"
		ours    = "Return-Path: <>\r\nReceived: from x\r\n\tby y\r\n"
		another = "X: y\r\n"
	)
	want := mailinfo.Info{
		Subject: "hello", Charset: "koi8-r", ContentType: "multipart/mixed",
		Attachments: []mailinfo.Attachment{{Name: "a", Type: "image/png", Size: 3}},
	}
	for name, message := range map[string]string{
		"without":            head + body,
		"first":              mark + head + body,
		"before another":     mark + another + head + body,
		"after our fields":   ours + mark + head + body,
		"mbox line":          mark + "From x Fri Mar  6 10:00:00 2026\r\n" + head + body,
		"before an empty":    head + mark + body,
		"before a continued": mark + "X: y\r\n z\r\n" + head + body,
	} {
		if got := mailinfo.Parse([]byte(message)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	part := mark + "Content-Type: image/png; name=a\r\n\r\nabc"
	if got := names(multi("--b", part, "--b--")); got != "a:3" {
		t.Errorf("before a part's field: %q", got)
	}
	for _, message := range []string{mark + "\r\nSubject: x\r\n", mark + " Subject: x\r\n", mark, mark + mark} {
		if got := mailinfo.Parse([]byte(message)).Subject; got != "" {
			t.Errorf("%q: subject %q", message, got)
		}
	}
}

// No byte order mark is left in a subject or a file name, however it is coded.
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
			t.Errorf("%q: %q, want %q", tt.field, got, tt.want)
		}
	}
	for _, disposition := range []string{"filename=\"\xef\xbb\xbfa\"", "filename*=utf-8''%EF%BB%BFa%EF%BB%BF", "filename=\"=?utf-8?B?77u/YQ==?=\""} {
		if got := names("Content-Disposition: attachment; " + disposition + "\r\n\r\nabc"); got != "a:3" {
			t.Errorf("%s: %q", disposition, got)
		}
	}
}
