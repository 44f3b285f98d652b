package mailinfo_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestBase64Size: the size of a base64 body is the number of bytes that the decoder of
// encoded words returns for the same characters.
func TestBase64Size(t *testing.T) {
	const characters = "AQYwz09+/=== \t*"
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var b strings.Builder
		for range rnd.IntN(40) {
			b.WriteByte(characters[rnd.IntN(len(characters))])
		}
		// In KOI8-R, each byte is one character.
		word := "=?koi8-r?B?" + b.String() + "?="
		want := fmt.Sprint(":", len([]rune(subject(" ["+word+"]")))-len("[]"))
		body := "Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b.String()
		if got := names(body); got != want {
			t.Errorf("%q: attachments %q, want %s", b.String(), got, want)
		}
	}
}

// TestPaddedBlocks tests the size of a file that was encoded in blocks with
// separate padding.
func TestPaddedBlocks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		var b strings.Builder
		size := 0
		for range rnd.IntN(20) {
			block := make([]byte, rnd.IntN(60))
			size += len(block)
			b.WriteString(base64.StdEncoding.EncodeToString(block))
			if rnd.IntN(2) == 0 {
				b.WriteString("\r\n")
			}
		}
		body := "Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b.String()
		if got, want := names(body), fmt.Sprint(":", size); got != want {
			t.Fatalf("%q: attachments %q, want %s", b.String(), got, want)
		}
	}
}
