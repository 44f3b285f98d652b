package mailinfo_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The size of a base64 body is the number of bytes that the decoder of encoded
// words returns for the same characters.
func TestSizeIsWhatTheDecoderReturns(t *testing.T) {
	const characters = "AQYwz09+/=== \t*"
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var b strings.Builder
		for range rnd.IntN(40) {
			b.WriteByte(characters[rnd.IntN(len(characters))])
		}
		// Each byte of KOI8-R is one character, and blanks around a word stay.
		word := "=?koi8-r?B?" + b.String() + "?="
		want := fmt.Sprint(":", len([]rune(subject(" ["+word+"]")))-len("[]"))
		body := "Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b.String()
		if got := names(body); got != want {
			t.Errorf("%q: %s, want %s", b.String(), got, want)
		}
	}
}

// A file that was encoded in blocks, each with its own padding, has the size of
// all blocks.
func TestSizeOfPaddedBlocks(t *testing.T) {
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
			t.Fatalf("%q: %s, want %s", b.String(), got, want)
		}
	}
}
