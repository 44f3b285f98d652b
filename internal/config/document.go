package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// document walks over the one object of a configuration file. The decoder
// decides what is JSON; where it refuses, complain looks at the place and says
// so in words for people who do not know JSON. No message repeats characters
// of the file, since they may belong to a password.
type document struct {
	data []byte
	dec  *jsontext.Decoder
	read int // keys and values so far
}

func newDocument(data []byte) *document {
	// Duplicates are refused by draft.read, which knows where the first stands.
	return &document{data: data, dec: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))}
}

// begin takes the opening brace.
func (d *document) begin() error {
	switch {
	case bytes.HasPrefix(d.data, []byte("\xEF\xBB\xBF")):
		return d.fault(0, "", "starts with a byte order mark", "save the file as UTF-8 without BOM")
	case bytes.HasPrefix(d.data, []byte("\xFF\xFE")), bytes.HasPrefix(d.data, []byte("\xFE\xFF")):
		return d.fault(0, "", "is UTF-16", "save the file as UTF-8 without BOM")
	}
	if d.dec.PeekKind() != jsontext.KindBeginObject {
		at := d.skip(0)
		if at == len(d.data) {
			return d.fault(at, "", "the file is empty", `want { "KEY": "value", ... }`)
		}
		if err := d.foreign(at, ""); err != nil {
			return err
		}
		return d.fault(at, "", "the file does not start with {", `want { "KEY": "value", ... }`)
	}
	_, err := d.dec.ReadToken()
	return err
}

// name takes the next key and returns it with its offset, or "" and -1 when
// the closing brace has been taken instead.
func (d *document) name() (string, int, error) {
	if d.dec.PeekKind() == jsontext.KindEndObject {
		if _, err := d.dec.ReadToken(); err == nil {
			return "", -1, nil
		}
	}
	s, at, err := d.str()
	if err != nil {
		return "", 0, d.complainName(err)
	}
	return s, at, nil
}

// value takes the value of a key and returns it with its offset.
func (d *document) value(key string) (string, int, error) {
	after := int(d.dec.InputOffset())
	colon := d.skip(after)
	if d.peek(colon) != ':' {
		if err := d.foreign(colon, key); err != nil {
			return "", 0, err
		}
		return "", 0, d.fault(after, key, "the colon and the value are missing", `want "`+key+`": "value"`)
	}
	at := d.skip(colon + 1)
	other := ""
	switch c := d.peek(at); {
	case c == '{':
		other = "an object"
	case c == '[':
		other = "a list"
	case c == '-' || '0' <= c && c <= '9':
		other = "a number"
	case d.word(at, "true"), d.word(at, "false"):
		other = "a boolean"
	case d.word(at, "null"):
		other = "null"
	case c == ',' || c == '}' || c == ':':
		return "", 0, d.fault(at, key, "the value is missing", `want a string, "" for the default`)
	}
	if other != "" {
		return "", 0, d.fault(at, key, "the value is "+other, "want a string, in double quotes")
	}
	s, at, err := d.str()
	if err != nil {
		return "", 0, d.complainString(d.skip(colon+1), key, err)
	}
	return s, at, nil
}

// colon tells whether a colon follows the key that was just taken. What has
// none is no key, but perhaps the rest of a password with a quote in it.
func (d *document) colon() bool { return d.peek(d.skip(int(d.dec.InputOffset()))) == ':' }

// end makes sure that nothing follows the closing brace.
func (d *document) end() error {
	at := d.skip(int(d.dec.InputOffset()))
	if at == len(d.data) {
		return nil
	}
	if err := d.foreign(at, ""); err != nil {
		return err
	}
	return d.fault(at, "", "something follows the closing }", "the file is one object and nothing else")
}

// str takes a string token.
func (d *document) str() (string, int, error) {
	raw, err := d.dec.ReadValue()
	if err != nil {
		return "", 0, err
	}
	at := int(d.dec.InputOffset()) - len(raw)
	s, err := jsontext.AppendUnquote(nil, raw)
	d.read++
	return string(s), at, err
}

// complainName says why there is no key.
func (d *document) complainName(cause error) error {
	after := int(d.dec.InputOffset())
	at := d.skip(after)
	if d.read > 0 && d.peek(at) != ',' {
		if err := d.foreign(at, ""); err != nil {
			return err
		}
		switch d.peek(at) {
		case '"':
			return d.fault(after, "", "a comma is missing here", "want a comma between two keys")
		case ';':
			return d.fault(at, "", "a semicolon instead of a comma", "want a comma between two keys")
		}
		return d.fault(at, "", "the value has ended, and what follows is no comma", `a " inside a value is written \", and two keys are parted by a comma`)
	}
	comma := at
	if d.read > 0 {
		at = d.skip(comma + 1)
		if d.peek(at) == '}' {
			return d.fault(comma, "", "a comma after the last value", "take the comma out")
		}
	}
	if d.peek(at) == ',' {
		return d.fault(at, "", "a comma too many", "take the comma out")
	}
	return d.complainString(at, "", cause)
}

// complainString says why there is no string at an offset; key is the key
// whose value was expected, or "" where a key was.
func (d *document) complainString(at int, key string, cause error) error {
	if err := d.foreign(at, key); err != nil {
		return err
	}
	what := "a key"
	if key != "" {
		what = "the value"
	}
	var syn *jsontext.SyntacticError
	if d.peek(at) != '"' || !errors.As(cause, &syn) {
		return d.fault(at, key, what+" is not in double quotes", `want "KEY": "value"`)
	}
	in := max(int(syn.ByteOffset), at)
	switch c := d.peek(in); {
	case in >= len(d.data) || c == '\n' || c == '\r':
		return d.fault(at, key, "the closing quote is missing in this line", `want "KEY": "value"`)
	case c == '\\':
		return d.fault(in, key, "no escape of JSON", `a backslash is written \\, and a quote \"`)
	case c < ' ':
		return d.fault(in, key, "a control character", "want printable characters only, a tab is written \\t")
	case c >= utf8.RuneSelf:
		return d.fault(in, key, "bytes that are not UTF-8", "save the file as UTF-8")
	}
	return d.fault(in, key, "not JSON", "want a string in double quotes")
}

// foreign knows what people write that is not JSON, and the end of the file.
func (d *document) foreign(at int, key string) error {
	rest := d.data[at:]
	has := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if bytes.HasPrefix(rest, []byte(p)) {
				return true
			}
		}
		return false
	}
	switch {
	case len(rest) == 0:
		return d.fault(at, key, "the file ends before the closing }", "put } at its end")
	case has("//", "/*", "#"):
		return d.fault(at, key, "JSON has no comments", "take out what starts here")
	case has("'", "`"):
		return d.fault(at, key, "the wrong kind of quote", `want double quotes: "`)
	case has("\u201c", "\u201d", "\u201e", "\u2018", "\u2019", "\u00ab", "\u00bb"):
		return d.fault(at, key, "a typographic quote", `want plain double quotes: "`)
	case has("="):
		return d.fault(at, key, "an equals sign in place of a colon", `want "KEY": "value"`)
	case has("\u00a0", "\u3000", "\ufeff", "\u200b"):
		return d.fault(at, key, "an invisible character that is not a plain blank", "take it out")
	case has("\x00"):
		return d.fault(at, key, "a NUL byte, this is no text", "save the file as UTF-8")
	}
	return nil
}

func (d *document) fault(at int, key, problem, want string) error {
	return &mistake{fault{hide: true, problem: problem, want: want}, at, key}
}

// skip returns the offset of the next byte that is not a blank.
func (d *document) skip(at int) int {
	for at < len(d.data) && strings.IndexByte(" \t\r\n", d.data[at]) >= 0 {
		at++
	}
	return min(at, len(d.data))
}

// peek returns the byte at an offset, 0 behind the end.
func (d *document) peek(at int) byte {
	if at >= len(d.data) {
		return 0
	}
	return d.data[at]
}

// word tells whether the word w stands alone at an offset.
func (d *document) word(at int, w string) bool {
	return bytes.HasPrefix(d.data[at:], []byte(w)) &&
		strings.IndexByte(" \t\r\n,}\x00", d.peek(at+len(w))) >= 0
}
