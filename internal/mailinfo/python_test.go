package mailinfo_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/test"
)

// listScript is a Python program. It reads one message in base64 per line, and prints
// the attachments that Python's email package finds.
const listScript = `
import base64, email, json, sys
for line in sys.stdin:
    found = []
    def walk(part):
        if part.get_content_maintype() == 'multipart':
            if part.is_multipart():
                for p in part.get_payload():
                    walk(p)
            return
        name = part.get_filename()
        if part.get_content_disposition() == 'attachment' or name is not None:
            data = part.get_payload(decode=True)
            found.append({'name': name or '', 'type': part.get_content_type(), 'size': len(data or b'')})
    walk(email.message_from_bytes(base64.b64decode(line)))
    print(json.dumps(found))
`

// A generator generates messages from a seed. It does not generate cases in which
// Parse intentionally differs from Python:
//   - file names of the first text parts, which are bodies for Parse;
//   - padding inside base64, at which Python stops;
//   - quotes around an encoding, which Python does not remove;
//   - comments after a boundary without quotes, which Python reads as part of it;
//   - CR and CR CR LF, which are one and two line ends for Python;
//   - a line end after a part without a delimiter after it, which Python removes;
//   - encoded attached messages, which Python does not decode.
type generator struct {
	*rand.Rand
	b bytes.Buffer
}

func (g *generator) pick(choices ...string) string { return choices[g.IntN(len(choices))] }

func (g *generator) multipart(depth int, used []string) {
	boundary := g.pick("b", "bb", "b--c", "a b", "a(c)", "=_x", "----=_Part", "a'b", "a:c", "x.y/z")
	for slices.Contains(used, boundary) {
		boundary += g.pick("1", "x")
	}
	used = append(used, boundary)
	field := g.pick("\""+boundary+"\"", boundary, boundary+" ; x=y")
	fmt.Fprintf(&g.b, "%s: multipart/%s;%sboundary=%s\r\n\r\n", g.pick("Content-Type", "content-type"), g.pick("mixed", "related", "alternative", "signed"), g.pick(" ", "\r\n ", "\r\n\t"), field)
	if g.IntN(3) == 0 {
		g.b.WriteString(g.pick("preamble", "--", "--"+boundary+"x", "") + "\r\n")
	}
	for range g.IntN(4) + 1 {
		fmt.Fprintf(&g.b, "--%s%s\r\n", boundary, g.pick("", "", " ", "\t"))
		if depth < 4 && g.IntN(4) == 0 {
			g.multipart(depth+1, used)
		} else {
			g.leaf()
		}
		g.b.WriteString("\r\n")
	}
	if g.IntN(5) > 0 {
		fmt.Fprintf(&g.b, "--%s--%s\r\n%s", boundary, g.pick("", " "), g.pick("", "epilogue\r\n"))
	}
}

func (g *generator) leaf() {
	file := g.IntN(2) == 0
	kind := g.pick("text/plain; charset=utf-8", "text/html", "image/png", "Application/X-Test")
	if file {
		kind = g.pick("image/png", "application/pdf", "Application/X-Test", "text/csv")
		name := g.pick("a.txt", "a b.pdf", "a(1).png", "\u00e4.txt", "x=y")
		switch g.IntN(5) {
		case 0:
			kind += "; name=\"a.txt\""
		case 1:
			fmt.Fprintf(&g.b, "Content-Disposition: attachment\r\n")
		case 2:
			fmt.Fprintf(&g.b, "Content-Disposition: %s; filename*=utf-8''%s\r\n", g.pick("inline", "attachment"), percent([]byte(name)))
		case 3:
			fmt.Fprintf(&g.b, "Content-Disposition: attachment;\r\n filename*0*=utf-8''%s;\r\n filename*1=\"b.c\"\r\n", percent([]byte(name)))
		default:
			fmt.Fprintf(&g.b, "Content-Disposition: %s; filename=\"a b.txt\"; size=3\r\n", g.pick("inline", "ATTACHMENT"))
		}
	}
	data := make([]byte, g.IntN(200))
	for i := range data {
		data[i] = g.pick("a", "b", "=", "-", "\n", "\xe4", " ")[0]
	}
	body := strings.ReplaceAll(string(data), "\n", "\r\n")
	switch encoding := g.pick("", "7bit", "base64", "BASE64", "quoted-printable", "x-uuencode"); encoding {
	case "":
	case "base64", "BASE64":
		body = base64.StdEncoding.EncodeToString(data)
		for at := 60; at < len(body); at += 62 {
			body = body[:at] + "\r\n" + body[at:]
		}
		fmt.Fprintf(&g.b, "Content-Transfer-Encoding: %s\r\n", encoding)
	case "quoted-printable":
		body = strings.NewReplacer("=", "=3D", "\xe4", "=E4=\r\n", " ", "=20").Replace(body)
		fmt.Fprintf(&g.b, "Content-Transfer-Encoding: %s\r\n", encoding)
	case "x-uuencode":
		body = "begin 644 a\r\n" + strings.Repeat("M"+strings.Repeat("86%A", 15)+"\r\n", g.IntN(4)) + "$86%A80``\r\n`\r\nend"
		fmt.Fprintf(&g.b, "Content-Transfer-Encoding: %s\r\n", encoding)
	default:
		fmt.Fprintf(&g.b, "Content-Transfer-Encoding: %s\r\n", encoding)
	}
	fmt.Fprintf(&g.b, "Content-Type: %s\r\n\r\n%s", kind, body)
}

// TestPython: Parse finds the same attachments as Python's email package.
func TestPython(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	test.Need(t, "python3")
	python, err := test.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	const seed, n = 19, 5000
	var messages [][]byte
	var input, stderr bytes.Buffer
	for i := range uint64(n) {
		g := generator{Rand: rand.New(rand.NewPCG(seed, i))}
		g.b.WriteString("Subject: x\r\nMIME-Version: 1.0\r\n")
		g.multipart(0, nil)
		message := bytes.TrimRight(g.b.Bytes(), "\r\n")
		messages = append(messages, message)
		input.WriteString(base64.StdEncoding.EncodeToString(message) + "\n")
	}
	command := exec.Command(python, "-c", listScript)
	command.Stdin, command.Stderr = &input, &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	wrong, found := 0, 0
	decoder := json.NewDecoder(bytes.NewReader(out))
	for i, message := range messages {
		var want []mailinfo.Attachment
		if err := decoder.Decode(&want); err != nil {
			t.Fatal(err)
		}
		found += len(want)
		got := mailinfo.Parse(message).Attachments
		if !slices.Equal(got, want) {
			if wrong++; wrong < 4 {
				wantAttachments(t, fmt.Sprintf("message %d of seed %d: %q", i, seed, message), got, want)
			}
		}
	}
	if wrong > 0 || found < n {
		t.Errorf("%d of %d messages differ, %d attachments found by Python, want at least %d", wrong, n, found, n)
	}
}
