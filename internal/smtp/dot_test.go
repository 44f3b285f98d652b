package smtp_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/smtp"
)

// model is a byte-by-byte implementation of DotReader. It returns the text, the bytes
// after the end of the text, and whether the text has ended.
func model(wire string) (text, rest string, end bool) {
	var out []byte
	for line := true; wire != ""; { // line: at the start of a line
		switch {
		case line && strings.HasPrefix(wire, ".\r\n"):
			return string(out), wire[3:], true
		case line && wire[0] == '.':
			wire, line = wire[1:], false
		case strings.HasPrefix(wire, "\r\n"):
			out, wire, line = append(out, "\r\n"...), wire[2:], true
		default:
			out, wire, line = append(out, wire[0]), wire[1:], false
		}
	}
	return string(out), "", false
}

// read feeds the wire to a DotReader as a session does, in pieces of the given sizes
// and then the remaining bytes, and checks the results of each step.
func read(t *testing.T, wire string, sizes ...int) (text, rest string, end bool) {
	t.Helper()
	var d smtp.DotReader
	buf, done := make([]byte, 0, len(wire)), 0 // buf[:done] is text
	for wire != "" {
		n := len(wire)
		if len(sizes) > 0 {
			n, sizes = min(n, sizes[0]), sizes[1:]
		}
		buf = append(buf, wire[:n]...)
		wire = wire[n:]

		b := buf[done:]
		text, used, end := d.Next(b)
		if text < 0 || text > used || used > len(b) || !end && len(b)-used > smtp.MaxUnresolved {
			t.Fatalf("Next(%q) = %d, %d, %v", b, text, used, end)
		}
		done += text
		if end {
			return string(buf[:done]), string(b[used:]) + wire, true
		}
		buf = buf[:done+copy(buf[done:], b[used:])]
	}
	return string(buf[:done]), "", false
}

func TestDotReader(t *testing.T) {
	for _, c := range []struct {
		wire string
		text string
		rest string
		end  bool
	}{
		// With and without text and pipelined commands after it.
		{"a\r\n.\r\n", "a\r\n", "", true},
		{"a\r\nb\r\n.\r\nQUIT\r\n", "a\r\nb\r\n", "QUIT\r\n", true},
		{".\r\n", "", "", true},
		{".\r\n.\r\n", "", ".\r\n", true},
		{"\r\n.\r\n", "\r\n", "", true},
		{"a\r\n.\r\nb\r\n.\r\n", "a\r\n", "b\r\n.\r\n", true},
		{"", "", "", false},
		{"a", "a", "", false},
		{"a\r\n", "a\r\n", "", false},

		// Stuffed dots: one is removed at the start of a line, none elsewhere.
		{"..\r\n.\r\n", ".\r\n", "", true},
		{"..a\r\n...\r\n.b\r\n.\r\n", ".a\r\n..\r\nb\r\n", "", true},
		{"a.\r\n.\r\n", "a.\r\n", "", true},
		{"a..b\r\n.\r\n", "a..b\r\n", "", true},
		{". \r\n.\r\n", " \r\n", "", true},
		{"a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", "", true},
		{"a\r\n..\r\n.\r\n", "a\r\n.\r\n", "", true},

		// A text that has not ended yet.
		{"a\r\n.", "a\r\n", "", false},
		{"a\r\n.\r", "a\r\n", "", false},
		{"a\r", "a\r", "", false},

		// Smuggling: bytes that other servers accept as the end of the text. They
		// are text, and a dot is removed only after CR LF.
		{"a\n.\n", "a\n.\n", "", false},
		{"a\n.\r\n", "a\n.\r\n", "", false},
		{"a\r.\r\n", "a\r.\r\n", "", false},
		{"a\r.\r", "a\r.\r", "", false},
		{"a\r\r.\r\r", "a\r\r.\r\r", "", false},
		{"a\n\n.\n\n", "a\n\n.\n\n", "", false},
		{"a\n\r.\r\n", "a\n\r.\r\n", "", false},
		{"a\r\n\x00.\r\n", "a\r\n\x00.\r\n", "", false},
		{"a\r\x00\n.\r\n", "a\r\x00\n.\r\n", "", false},
		{"a\x00\r\n.\x00\r\nb", "a\x00\r\n\x00\r\nb", "", false},
		{"a\r\n.\r\x00\nb", "a\r\n\r\x00\nb", "", false},
		{"a\r\n.\nMAIL", "a\r\n\nMAIL", "", false},
		{"a\r\n.\rMAIL", "a\r\n\rMAIL", "", false},
		{"a\r\n.\r\rMAIL", "a\r\n\r\rMAIL", "", false},
		{"a\r\n.\n\r\nb", "a\r\n\n\r\nb", "", false},
		{"a\r\n. \r\nb", "a\r\n \r\nb", "", false},
		{"a\r\n\t.\r\nb", "a\r\n\t.\r\nb", "", false},
		{"a\x85.\x85b\u2028.\u2028", "a\x85.\x85b\u2028.\u2028", "", false},
		{"a\n.\nRSET\r\n.\r\nQUIT", "a\n.\nRSET\r\n", "QUIT", true},
		{"a\n..\nb\n.\r\n.\r\n", "a\n..\nb\n.\r\n", "", true},
		{"a\r\r\n.\r\n", "a\r\r\n", "", true}, // CR CR LF ends with CR LF

		// The first bytes, which follow the CR LF of DATA.
		{".\n.\r\n", "\n.\r\n", "", false},
		{".\r.\r\n", "\r.\r\n", "", false},
		{"\n.\r\n", "\n.\r\n", "", false},
		{"\r.\r\n", "\r.\r\n", "", false},

		// Bytes of any kind.
		{"\x00\xff\x80\x1a\x7f\r\n.\r\n", "\x00\xff\x80\x1a\x7f\r\n", "", true},
		{strings.Repeat("x", 5000) + "\r\n.\r\n", strings.Repeat("x", 5000) + "\r\n", "", true},
	} {
		if text, rest, end := model(c.wire); end && text != c.text || rest != c.rest || end != c.end {
			t.Errorf("model(%q) = %q, %q, %v, want %q, %q, %v", c.wire, text, rest, end, c.text, c.rest, c.end)
		}
		splits := [][]int{nil, {1}, {2}, {3}, bytewise(len(c.wire))}
		if len(c.wire) < 100 {
			splits = append(splits, pairs(len(c.wire))...)
		}
		for _, sizes := range splits {
			checkRead(t, c.wire, sizes, c.text, c.rest, c.end)
		}
	}
}

// checkRead reads the wire in pieces of the given sizes and checks the results.
func checkRead(t *testing.T, wire string, sizes []int, wantText, wantRest string, wantEnd bool) {
	t.Helper()
	text, rest, end := read(t, wire, sizes...)
	if text != wantText {
		t.Fatalf("%q in pieces of %v: text %q, want %q", wire, sizes, text, wantText)
	}
	if rest != wantRest {
		t.Fatalf("%q in pieces of %v: rest %q, want %q", wire, sizes, rest, wantRest)
	}
	if end != wantEnd {
		t.Fatalf("%q in pieces of %v: end %v, want %v", wire, sizes, end, wantEnd)
	}
}

// bytewise splits n bytes into single bytes.
func bytewise(n int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = 1
	}
	return sizes
}

// pairs returns all splits of n bytes into three pieces, which may be empty.
func pairs(n int) (all [][]int) {
	for i := range n + 1 {
		for j := range n - i + 1 {
			all = append(all, []int{i, j})
		}
	}
	return all
}

// TestDotReaderModel compares the reader with the model for all texts of seven dots,
// CRs, LFs and letters, in all splits into three pieces.
func TestDotReaderModel(t *testing.T) {
	const alphabet, length = ".\r\nx", 7
	splits := append(pairs(length), bytewise(length))
	wire := make([]byte, length)
	step := 1
	if testing.Short() {
		step = 13 // a sample; not a power of two, so that all bytes vary
	}
	for n := 0; n < 1<<(2*length); n += step {
		for i := range wire {
			wire[i] = alphabet[n>>(2*i)&3]
		}
		compare(t, string(wire), splits...)
	}
}

// compare checks splits of a wire against the model.
func compare(t *testing.T, wire string, splits ...[]int) {
	t.Helper()
	text, rest, end := model(wire)
	if !end && strings.HasSuffix("\r\n"+wire, "\r\n.\r") {
		text = strings.TrimSuffix(text, "\r") // the CR may belong to the end of the text
	}
	for _, sizes := range splits {
		checkRead(t, wire, sizes, text, rest, end)
	}
}

func FuzzDotReader(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\nQUIT\r\n", ".\r\n", "..\r\n.\r\n", "a\n.\n", "a\r\n.\n", "a\n.\r\n", "\r.\r", "a\r\n.\r\r\n.\r\n", "a\r\n\x00.\r\n"} {
		f.Add(s, byte(1), byte(2))
	}
	f.Fuzz(func(t *testing.T, wire string, i, j byte) {
		var equal []int
		for range len(wire)/int(i%16+1) + 1 {
			equal = append(equal, int(i%16)+1)
		}
		compare(t, wire, nil, bytewise(len(wire)), []int{int(i), int(j)}, equal)
		checkStuffing(t, wire, int(i))
	})
}

// checkStuffing stuffs a text as a client does and checks that the reader returns it.
func checkStuffing(t *testing.T, text string, size int) {
	text += "\r\n"
	wire := strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n..")[2:] + ".\r\n"
	checkRead(t, wire+"QUIT", []int{size}, text, "QUIT", true)
}

// TestDotReaderDoesNotMove: a text without stuffed dots is not written.
func TestDotReaderDoesNotMove(t *testing.T) {
	var d smtp.DotReader
	b := []byte("line\r\nline.\r\n.\r\nMAIL")
	if text, used, end := d.Next(b); text != 13 || used != 16 || !end {
		t.Errorf("Next returns %d, %d, %v, want 13, 16, true", text, used, end)
	}
	if !bytes.Equal(b, []byte("line\r\nline.\r\n.\r\nMAIL")) {
		t.Errorf("the buffer was changed to %q", b)
	}
}

func TestDotReaderDoesNotAllocate(t *testing.T) {
	wire := []byte(strings.Repeat("..line\r\n", 100))
	b := make([]byte, len(wire))
	if n := testing.AllocsPerRun(100, func() {
		copy(b, wire)
		var d smtp.DotReader
		d.Next(b)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkDotReader(b *testing.B) {
	for _, c := range []struct{ name, line string }{
		{"base64", strings.Repeat("x", 76) + "\r\n"},
		{"text", "Some words that make a line. And some more of them, which end it here.\r\n"},
		{"short lines", "x\r\n"},
		{"empty lines", "\r\n"},
		{"one line", strings.Repeat("x", 100_000)},
		{"CR", strings.Repeat("\r", 78)},
		{"dots", "..\r\n"},
	} {
		wire := []byte(strings.Repeat(c.line, max(1, 100_000/len(c.line))) + "\r\n.\r\n")
		buf := make([]byte, len(wire))
		for _, size := range []int{len(wire), 4096} {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				b.SetBytes(int64(len(wire)))
				b.ReportAllocs()
				for b.Loop() {
					var d smtp.DotReader
					copy(buf, wire) // in each iteration, since Next removes the dots
					for i := 0; i < len(buf); {
						_, used, _ := d.Next(buf[i:min(i+size, len(buf))])
						i += used
					}
				}
			})
		}
	}
}
