package mailinfo_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"goguerrillad/internal/test"
)

// decodeScript is a JavaScript program for Chromium. For each label, it returns inputs in
// hexadecimal and the output of TextDecoder. Only the first label of an encoding
// has all inputs, the others have one. Each input has a new decoder, since
// Chromium's decoders keep state after an error.
const decodeScript = `(labels => {
	const hex = a => a.map(c => c.toString(16).padStart(2, '0')).join(''), seen = {}, out = [];
	for (const label of labels) {
		const name = new TextDecoder(label).encoding, cases = {};
		const add = a => { cases[hex(a)] = new TextDecoder(label, {ignoreBOM: true}).decode(new Uint8Array(a)) };
		add([0x61, 0x80, 0xe4, 0xb8, 0xad, 0xb0, 0xa1, 0x62]);
		if (!seen[name]) {
			for (let a = 0; a < 256; a++) add([a]);
			if (/^(big5|shift_jis|euc|gb)/.test(name)) {
				for (let a = 128; a < 256; a++) for (let b = 0; b < 256; b++) { add([a, b]); add([a, b, 0x41]); }
			}
			const bytes = [0x41, 0x30, 0x39, 0x81, 0xfe, 0xff, 0x80, 0xa1, 0x8f, 0x8e, 0xd8, 0xdc, 0];
			if (/^(utf|euc-jp|gb18030)/.test(name)) {
				for (const a of bytes) for (const b of bytes) for (const c of bytes) { add([a, b, c]); for (const d of bytes) add([a, b, c, d]); }
			}
			if (name == 'euc-jp') for (let a = 0xa1; a < 255; a++) for (let b = 0xa1; b < 255; b++) add([0x8f, a, b]);
			if (name == 'gb18030') {
				let n = 0;
				for (let a = 0x81; a < 255; a++) for (let b = 0x30; b < 0x3a; b++) for (let c = 0x81; c < 255; c++) for (let d = 0x30; d < 0x3a; d++) {
					if (a < 0x85 || ++n % 61 == 0) add([a, b, c, d]);
				}
			}
			if (name == 'iso-2022-jp') {
				const parts = [[0x1b, 0x28, 0x42], [0x1b, 0x28, 0x4a], [0x1b, 0x28, 0x49], [0x1b, 0x24, 0x42], [0x1b, 0x24, 0x40], [0x1b], [0x1b, 0x24], [0x1b, 0x24, 0x28, 0x44], [0x41], [0x5c], [0x7e], [0x46, 0x7c], [0x0a], [0x0e], [0x80], [0x20], [0x7f]];
				for (const a of parts) for (const b of parts) for (const c of parts) for (const d of parts) add([...a, ...b, ...c, ...d]);
				for (let a = 0x21; a < 0x7f; a++) for (let b = 0x21; b < 0x7f; b++) add([0x1b, 0x24, 0x42, a, b]);
			}
		}
		seen[name] = true;
		out.push(cases);
	}
	return out;
})`

// TestChromium: every label of the WHATWG Encoding standard decodes as in Chromium.
func TestChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Chromium")
	}
	test.Need(t, "chromium")
	data, err := os.ReadFile("testdata/charsets.json")
	if err != nil {
		t.Fatal(err)
	}
	var charsets []struct {
		Name   string
		Labels []string
	}
	if err := json.Unmarshal(data, &charsets); err != nil {
		t.Fatal(err)
	}
	var labels, names []string
	for _, c := range charsets {
		for _, label := range c.Labels {
			labels, names = append(labels, label), append(names, strings.ToLower(c.Name))
		}
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.ExecPath("chromium"), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	argument, err := json.Marshal(labels)
	if err != nil {
		t.Fatal(err)
	}
	results, err := chromedp.Run(ctx, chromedp.Evaluate[[]map[string]string](decodeScript+"("+string(argument)+")"))
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(labels) {
		t.Fatalf("%d results for %d labels", len(results), len(labels))
	}
	escapes := regexp.MustCompile(`\x1b(\([BJI]|\$[@B])`)
	for i, cases := range results {
		wrong := 0
		for input, want := range cases {
			text, err := hex.DecodeString(input)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(names[i], "utf-16") && (strings.HasPrefix(input, "fffe") || strings.HasPrefix(input, "feff")) {
				continue // in the standard's "decode", a byte order mark selects the byte order
			}
			if chromiumIsWrong(names[i], text, escapes) {
				continue
			}
			word := "=?" + labels[i] + "?B?" + base64.StdEncoding.EncodeToString(text) + "?="
			got := subject(" [" + word + "]")
			if want = "[" + visible(want) + "]"; got != want {
				if wrong++; wrong < 10 {
					t.Errorf("%s %s: got %+q, want %+q", labels[i], input, got, want)
				}
			}
		}
		if wrong > 0 {
			t.Errorf("%s: %d of %d texts differ", labels[i], wrong, len(cases))
		}
	}
}

// chromiumIsWrong reports whether Chromium does not decode text as the standard
// requires. Chromium 156 cuts four characters of Big5, which are two code points, to
// 16 bits, and Chromium 148 reads a byte that cannot be the second one of a character of
// Big5 again. In ISO-2022-JP, it ignores an error after an ESC $ or ESC ( that does not
// start an escape sequence; escapes matches valid escape sequences.
func chromiumIsWrong(name string, text []byte, escapes *regexp.Regexp) bool {
	switch name {
	case "big5":
		for i := 1; i < len(text); i++ {
			if text[i] >= 0x80 && text[i-1] > 0x80 && (text[i] <= 0xa0 || text[i] == 0xff || text[i-1] <= 0x86) {
				return true
			}
		}
		return len(text) > 1 && text[0] == 0x88 && strings.IndexByte("\x62\x64\xa3\xa5", text[1]) >= 0
	case "iso-2022-jp":
		rest := escapes.ReplaceAll(text, []byte("-"))
		return bytes.Contains(rest, []byte("\x1b(")) || bytes.Contains(rest, []byte("\x1b$"))
	}
	return false
}
