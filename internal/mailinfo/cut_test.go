package mailinfo_test

import (
	"testing"
	"unicode/utf8"

	"goguerrillad/internal/mailinfo"
)

// TestCutMessages: Parse returns valid UTF-8 for a message that is cut at any byte.
func TestCutMessages(t *testing.T) {
	messages := []string{
		"Subject: a =?utf-8?Q?b=3F_?= =?iso-2022-jp?B?GyRCRnwbKEI=?=\r\nContent-Type: multipart/mixed; boundary=\"x y\" (c \\) d)\r\n\r\n" +
			"--x y\r\nContent-Type: text/plain; charset*0*=utf-8'en'%C3; charset*1=\"a\\\"b\"\r\n\r\ntext\r\n" +
			"--x y\r\nContent-Disposition: attachment; filename=\"\x1b$BF|\x1b(B\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3D=\r\n=4\r\n" +
			"--x y\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\nRA==\r\n" +
			"--x y\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 a\r\n#86)C\r\n`\r\nend\r\n--x y--\r\n",
	}
	for charset, text := range map[string]string{
		"big5": "%A4%40a%A4", "euc-kr": "%B0%A1a%B0", "shift_jis": "%93%FAa%93", "euc-jp": "%C6%FC%8F%B0%A1a%8E%B1",
		"gb18030": "%C8%D5%81%30%81%30a%81%30%81%30", "iso-2022-jp": "%1B%24%42%46%7C%46%1B%28%42a", "utf-16le": "%3D%D8%00%DEa%00", "utf-8": "%F0%9F%98%80a",
	} {
		messages = append(messages, "Content-Disposition: attachment; filename*="+charset+"''"+text)
	}
	for _, message := range messages {
		for n := range len(message) + 1 {
			info := mailinfo.Parse([]byte(message[:n]))
			for _, a := range append(info.Attachments, mailinfo.Attachment{Name: info.Subject, Type: info.Charset}) {
				if !utf8.ValidString(a.Name) || !utf8.ValidString(a.Type) {
					t.Errorf("%q: invalid UTF-8 in %q or %q", message[:n], a.Name, a.Type)
				}
			}
		}
	}
}
