package mailinfo_test

import (
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
)

func TestHeader(t *testing.T) {
	tests := []struct{ name, message, want string }{
		{"empty", "", ""},
		{"no empty line", "Subject: a", "a"},
		{"case and obsolete blanks", "sUbJeCt \t: a\r\n", "a"},
		{"first of two", "Subject: a\r\nSubject: b\r\n\r\n", "a"},
		{"first of two, empty", "Subject:\r\nSubject: b\r\n\r\n", ""},
		{"in the body", "From: x\r\n\r\nSubject: b\r\n", ""},
		{"body at once", "\r\nSubject: b\r\n", ""},
		{"body at once, LF", "\nSubject: b\r\n", ""},
		{"continuation line first", " x\r\nSubject: b\r\n", ""},
		{"not a field", "x\r\nSubject: b\r\n", ""},
		{"no name", ": x\r\nSubject: b\r\n", ""},
		{"name that is not ASCII", "é: x\r\nSubject: b\r\n", ""},
		{"longer name", "X-Subject: x\r\nSubjects: y\r\nSubject2: z\r\nThread: z\r\nSubject: a\r\n", "a"},
		{"after an invalid line", "From: x\r\nbroken\r\nSubject: b\r\n", ""},
		{"after a field without a body", "From:\r\nSubject:a\r\n", "a"},
		{"continuation of another", "From: x\r\n Subject: b\r\nSubject: a\r\n", "a"},
		{"mbox", "From x Fri Mar  6 10:00:00 2026\r\nSubject: a\r\n", "a"},
		{"quoted mbox", ">From x Fri Mar  6 10:00:00 2026\nSubject: a\n", "a"},
		{"mbox not first", "X: y\r\nFrom x Fri Mar  6 10:00:00 2026\r\nSubject: a\r\n", ""},
		{"field that looks like mbox", "From : x\r\nSubject: a\r\n", "a"},
		{"CR alone", "X: y\rSubject: b\r\nSubject: a\r\n", "a"},
		{"CR CR LF", "Subject: a\r\r\nX: y\r\n", "a"},
	}
	for _, tt := range tests {
		if got := mailinfo.Parse([]byte(tt.message)).Subject; got != tt.want {
			t.Errorf("%s: subject %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestContentType(t *testing.T) {
	tests := []struct{ field, want, charset string }{
		{"text/html", "text/html", "UTF-8"},
		{" TEXT/Html ; charset=\"ISO-8859-1\"", "text/html", "ISO-8859-1"},
		{" text/html;charset=Utf-8", "text/html", "Utf-8"},
		{"\r\n text/html;\r\n\tcharset\r\n = \r\n \"utf-8\"", "text/html", "utf-8"},
		{" text/plain; charset=us-ascii (Plain text)", "text/plain", "us-ascii"},
		{" text/plain (a (nested; \\) comment)); charset=(x)us-ascii", "text/plain", "UTF-8"},
		{" (x) text (y) / (z) html (; charset=no", "text/html", "UTF-8"},
		{" text/html; =x; ;; charset; a=b=c; charset=utf-8; charset=koi8-r", "text/html", "utf-8"},
		{" text/html; format=flowed charset=utf-8", "text/html", "utf-8"},
		{" text/html; foo=\"a;charset=no\" charset=\"utf-8", "text/html", "utf-8"},
		{" text/html; charset*=us-ascii'en'koi8-r", "text/html", "koi8-r"},
		{" text/html; charset*1=8-r; charset*0=koi", "text/html", "koi8-r"},
		{" text/html; charset=\"\"", "text/html", "UTF-8"},
		{" text/html; charset=\xff\xfe", "text/html", "\ufffd"},
		{" text/html charset=koi8-r", "text/plain", "koi8-r"},
		{" text/html, text/plain", "text/plain", "UTF-8"},
		{" text", "text/plain", "UTF-8"},
		{" text; charset=koi8-r", "text/plain", "koi8-r"},
		{" text/", "text/plain", "UTF-8"},
		{" /html", "text/plain", "UTF-8"},
		{" text/html/x", "text/plain", "UTF-8"},
		{" \"text/html\"", "text/plain", "UTF-8"},
		{" te xt/html", "text/plain", "UTF-8"},
		{" téxt/html", "text/plain", "UTF-8"},
		{"", "text/plain", "UTF-8"},
		{" ;", "text/plain", "UTF-8"},
		{" application/" + strings.Repeat("x", 300), "text/plain", "UTF-8"},
		{" application/vnd.openxmlformats-officedocument.wordprocessingml.document", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "UTF-8"},
		{" multipart/mixed; boundary=\"\"", "multipart/mixed", "UTF-8"},
		{" message/rfc822; charset=koi8-r", "message/rfc822", "UTF-8"},
	}
	for _, tt := range tests {
		got := mailinfo.Parse([]byte("Content-Type:" + tt.field + "\r\nSubject: s\r\n\r\ntext"))
		wantInfo(t, fmt.Sprintf("%q", tt.field), got, mailinfo.Info{Subject: "s", ContentType: tt.want, Charset: tt.charset})
	}
}

// names returns the names and sizes of the attachments, as in "a:3 b:0".
func names(message string) string {
	var out []string
	for _, a := range mailinfo.Parse([]byte(message)).Attachments {
		out = append(out, fmt.Sprintf("%s:%d", a.Name, a.Size))
	}
	return strings.Join(out, " ")
}

func TestFileNames(t *testing.T) {
	tests := []struct{ disposition, contentType, want string }{
		{"attachment; filename=a.txt", "", "a.txt"},
		{"attachment; FileName=\"a.txt\"", "", "a.txt"},
		{"attachment; filename=\"a \\\"b\\\\c\\d.txt\"", "", `a "b\c\d.txt`},
		{"attachment; filename=a b (1).txt ; size=1", "", "a b (1).txt"},
		{"attachment; filename='a.txt'", "", "'a.txt'"},
		{"attachment; filename=\"a.txt", "", "a.txt"},
		{"attachment; filename=a.txt", "name=b.txt", "a.txt"},
		{"attachment", "name=b.txt", "b.txt"},
		{"attachment; filename=\"\"", "name=b.txt", "b.txt"},
		{"attachment; filename=\" \"", "name=b.txt", ""},
		{"attachment; filename==?utf-8?Q?=C3=A4=3B?=.txt", "", "ä;.txt"},
		{"attachment; filename=\"=?utf-8?Q?=C3?= =?utf-8?Q?=A4?=.txt\"", "", "ä.txt"},
		{"attachment; filename=\"=?utf-8?Q?=C3?=\r\n\t=?utf-8?Q?=A4?=.txt\"", "", "ä.txt"},
		{"attachment; filename=\"\xc3\xa4.txt\"", "", "ä.txt"},
		{"attachment; filename=\"\xe4\x80.txt\"", "", "ä€.txt"},
		{"attachment; filename=\"a%20b\"", "", "a%20b"},
		{"attachment; filename=no; filename*=utf-8''%C3%A4", "", "ä"},
		{"attachment; filename*=utf-8''%C3%A4; filename=no", "", "ä"},
		{"attachment; filename*0=no; filename*=utf-8''%C3%A4", "", "ä"},
		{"attachment; filename*=utf-8''%C3%A4; filename*=no; filename=no", "", "ä"},
		{"attachment; filename*=\"utf-8'de'%C3%A4\"", "", "ä"},
		{"attachment; filename*=UTF-8'%C3%A4'b", "", "b"},
		{"attachment; filename*=%C3%A4", "", "ä"},
		{"attachment; filename*=''%C3%A4", "", "ä"},
		{"attachment; filename*=''%E4", "", "ä"},
		{"attachment; filename*=utf-8''a%0D%0Ab%00c", "", "a  b c"},
		{"attachment; filename*=utf-8''%ff", "", "\ufffd"},
		{"attachment; filename*=utf-8''", "name=b.txt", "b.txt"},
		{"attachment; filename*x=a; filename**=b; filename*99999=c; filename*-1=d; *=e; *0=f", "", ""},
		{"attachment; filename*1=b; filename*0=a; filename*0=c; filename*10=d; filename*2=\" c\"", "", "ab cd"},
		{"attachment; filename*1*=%E4; filename*0*=iso-8859-1''a%E4", "", "aää"},
		{"attachment; filename*0*=utf-8''%C3; filename*1*=%A4%; filename*2=%41", "", "ä%%41"},
		{"attachment; filename*0=%41; filename*1*=%42", "", "%41B"},
		{"attachment; filename*1=b; filename=a", "", "b"},
		{"attachment", "name*0*=utf-8''%C3%A4; name*1=b", "äb"},
		{"attachment filename=a.txt", "", "a.txt"},
		{"ATTACHMENT", "", ""},
		{" (x) Attachment (y); filename=a", "", "a"},
		{"attachment; name=a.txt", "filename=b.txt", ""},
		{"attachment; filename=../../etc/passwd", "", "../../etc/passwd"},
		{"attachment; filename=" + strings.Repeat("ä", 600), "", strings.Repeat("ä", 512)},
	}
	for _, tt := range tests {
		message := "Content-Type: application/x-test; " + tt.contentType + "\r\nContent-Disposition: " + tt.disposition + "\r\n\r\nabc"
		if got := names(message); got != tt.want+":3" {
			t.Errorf("%q, %q: attachments %q, want %q", tt.disposition, tt.contentType, got, tt.want+":3")
		}
	}
}

func TestAttachments(t *testing.T) {
	tests := []struct{ name, header, want string }{
		{"no type, no disposition", "X: y", ""},
		{"no file name", "Content-Type: image/png", ""},
		{"inline", "Content-Type: image/png\r\nContent-Disposition: inline", ""},
		{"inline with a name", "Content-Type: image/png\r\nContent-Disposition: inline; filename=a", "a:3"},
		{"only a name", "Content-Type: image/png; name=a", "a:3"},
		{"body with a name", "Content-Type: text/plain; name=a", ""},
		{"HTML with a name", "Content-Type: text/html; name=a\r\nContent-Disposition: inline; filename=b", ""},
		{"other text with a name", "Content-Type: text/csv; name=a", "a:3"},
		{"no type, a name", "Content-Disposition: inline; filename=a", ""},
		{"malformed type, a name", "Content-Type: x; name=a", "a:3"},
		{"attached text", "Content-Type: text/plain\r\nContent-Disposition: attachment", ":3"},
		{"another disposition", "Content-Type: image/png\r\nContent-Disposition: form-data", ""},
		{"multipart", "Content-Type: multipart/mixed; name=a\r\nContent-Disposition: attachment; filename=a", ""},
		{"enclosed message", "Content-Type: message/rfc822", ""},
		{"enclosed message, attached", "Content-Type: message/rfc822\r\nContent-Disposition: attachment", ":3"},
	}
	for _, tt := range tests {
		if got := names(tt.header + "\r\n\r\nabc"); got != tt.want {
			t.Errorf("%s: attachments %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSize(t *testing.T) {
	tests := []struct {
		encoding, body string
		want           int
	}{
		{"", "a\r\n", 3},
		{"7bit", "a=20", 4},
		{"binary", "\x00\xff\n", 3},
		{"x-unknown", "YWJj", 4},
		{"base64", "YWJj", 3},
		{"BASE64 (x)", "YWJj\r\nYWI=\r\n", 5},
		{"base64", "YQ==", 1},
		{"base64", "YQ", 1},
		{"base64", "YWJjZ", 3},
		{"base64", "", 0},
		{"base64", "*Y W\tJ-j_\xff!", 3},
		{"base64", "YQ==YQ==", 2},
		{"base64", "YWI=YQ==YWJj", 6},
		{"base64", strings.Repeat("YQ==\r\n", 1000), 1000},
		{"base64", "Y=Q=YQ=\r\n=", 1},
		{"base64", "====", 0},
		{"quoted-printable", "", 0},
		{"Quoted-Printable", "a=3D=e4\r\n", 5},
		{"quoted-printable", "a=\r\nb=\nc= \t\r\nd=", 4},
		{"quoted-printable", "a \t\r\nb ", 4},
		{"quoted-printable", "a=zz=4=", 6},
		{"quoted-printable", "=\r\n=\r\n", 0},
		{"quoted-printable", "=3", 2},
		{"quoted-printable", "=z4=4z", 6},
		{"quoted-printable", "=0A=9F=aF=/0=:0=@a=Ga=`a=ga", 21},
		{"quoted-printable", "==3D", 2},
	}
	for _, tt := range tests {
		message := "Content-Disposition: attachment\r\nContent-Transfer-Encoding: " + tt.encoding + "\r\n\r\n" + tt.body
		if got, want := names(message), fmt.Sprint(":", tt.want); got != want {
			t.Errorf("%s %q: attachments %q, want %s", tt.encoding, tt.body, got, want)
		}
	}
}

// multi returns a multipart message with the boundary b and the lines as its body.
func multi(lines ...string) string {
	return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Join(lines, "\r\n")
}

// at returns a header of an attachment, without the empty line.
func at(name string) string {
	return "Content-Type: application/x-test; name=" + name + "\r\n"
}

func TestMultipart(t *testing.T) {
	inner := "Content-Type: multipart/mixed; boundary=i\r\n"
	alt := "Content-Type: multipart/alternative; boundary=i\r\n"
	tests := []struct{ name, message, want string }{
		{"one part", multi("--b", at("a"), "x", "--b--"), "a:1"},
		{"several", multi("preamble", "--b", at("a"), "x", "--b", at("b"), "yy", "", "--b--", "epilogue"), "a:1 b:4"},
		{"blanks after the boundary", multi("--b \t", at("a"), "x", "--b--  "), "a:1"},
		{"no end", multi("--b", at("a"), "x"), "a:1"},
		{"no end, line ended", multi("--b", at("a"), "x", ""), "a:3"},
		{"empty bodies", multi("--b", at("a"), "--b", at("b")+"--b", at("c"), "", "--b--"), "a:0 b:0 c:0"},
		{"delimiter in a header", multi("--b", "Content-Type: image/png;\r\n name=a", "--b", at("b"), "x"), "a:0 b:1"},
		{"boundary that looks like a field", "Content-Type: multipart/mixed; boundary=\"b:c\"\r\n\r\n--b:c\r\nContent-Type: image/png; name=a\r\n--b:c\r\n" + at("b") + "\r\nx", "a:0 b:1"},
		{"lines that start like a delimiter", multi("--b", at("a"), "--bc", "--b-", "--b-- x", "-b", "--", "--B", "--b--"), "a:32"},
		{"not at the start of a line", multi("--b", at("a"), "x --b", " --b", "x\r--b", "--b--"), "a:18"},
		{"LF", strings.ReplaceAll(multi("--b", at("a"), "x", "y", "--b--"), "\r\n", "\n"), "a:3"},
		{"delimiter at the end", multi("--b", at("a"), "x", "--b"), "a:1"},
		{"after the closing delimiter", multi("--b--", "--b", at("a"), "x"), ""},
		{"nested", multi("--b", inner, "--i", at("a"), "x", "--i--", "epilogue", "--b", at("b"), "x"), "a:1 b:1"},
		{"nested, no end", multi("--b", inner, "--i", at("a"), "x", "--b", at("b"), "--i", "--b--"), "a:1 b:3"},
		{"nested, no boundary", multi("--b", "Content-Type: multipart/mixed\r\n", "--i", at("a"), "--b", at("b"), "x"), "b:1"},
		{"nested, the same boundary", multi("--b", "Content-Type: multipart/mixed; boundary=b\r\n", "--b", at("a"), "x", "--b--", "--b", at("b"), "x", "--b--"), "a:1 b:1"},
		{"boundary that starts another boundary", strings.Replace(multi("--bb", "Content-Type: multipart/mixed; boundary=b\r\n", "--b", at("a"), "x", "--b--", "--bb", at("c"), "x", "--bb--"), "boundary=b", "boundary=bb", 1), "a:1 c:1"},
		{"enclosed message", multi("--b", "Content-Type: message/rfc822\r\n", inner, "--i", "Content-Disposition: attachment; filename=a\r\n", "x", "--i--", "--b", at("b"), "x"), "b:1"},
		{"digest", strings.Replace(multi("--b", "Content-Disposition: attachment\r\n", "x", "--b", "", "Content-Disposition: attachment\r\n", "--b--"), "mixed", "digest", 1), ":1"},
		{"part without a header", multi("--b", "", "x", "--b", at("b"), "x"), "b:1"},
		{"part with an incomplete header", multi("--b", "Content-Type: image/png; name=a", "x", "--b"), "a:1"},
		{"boundary with blanks", "Content-Type: multipart/mixed; boundary=\"a b \"\r\n\r\n--a b\r\n" + at("a") + "\r\nx\r\n--a b--", "a:1"},
		{"body in an alternative", multi("--b", alt, "--i", "", "x", "--i", "Content-Type: text/html; name=a\r\n", "x", "--i--", "--b", "Content-Type: text/html; name=c\r\n", "x"), "c:1"},
		{"two parts of one type in an alternative", multi("--b", alt, "--i", "", "x", "--i", "Content-Type: text/plain; name=a\r\n", "x", "--i--"), "a:1"},
		{"after an alternative", multi("--b", alt, "--i", "", "x", "--i--", "--b", "Content-Type: text/html; name=c\r\n", "x"), "c:1"},
		{"after an alternative that is not closed", multi("--b", alt, "--i", "", "x", "--b", "Content-Type: text/html; name=c\r\n", "x"), "c:1"},
		{"boundary that is too long", "Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 2000) + "\r\n\r\n--" + strings.Repeat("b", 2000) + "\r\n" + at("a"), ""},
	}
	for _, tt := range tests {
		if got := names(tt.message); got != tt.want {
			t.Errorf("%s: attachments %q, want %q\n%q", tt.name, got, tt.want, tt.message)
		}
	}
}
