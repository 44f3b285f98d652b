package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// document reads the JSON object of a configuration file. nameError and
// stringError explain the decoder's errors to operators who do not know JSON. No
// error repeats characters of the file, since they may belong to a password.
type document struct {
	data []byte
	dec  *jsontext.Decoder
	read int // keys and values so far
}

func newDocument(data []byte) *document {
	// Draft.read refuses duplicates with the line of the first.
	return &document{data: data, dec: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))}
}

// begin reads the opening brace.
func (d *document) begin() error {
	switch {
	case bytes.HasPrefix(d.data, []byte("\xEF\xBB\xBF")):
		return d.mistake(0, "", "starts with a byte order mark", "want UTF-8 without BOM")
	case bytes.HasPrefix(d.data, []byte("\xFF\xFE")), bytes.HasPrefix(d.data, []byte("\xFE\xFF")):
		return d.mistake(0, "", "is UTF-16", "want UTF-8 without BOM")
	}
	if d.dec.PeekKind() != jsontext.KindBeginObject {
		at := d.skip(0)
		if at == len(d.data) {
			return d.mistake(at, "", "the file is empty", `want { "KEY": "value", ... }`)
		}
		if err := d.foreign(at, ""); err != nil {
			return err
		}
		return d.mistake(at, "", "the file does not start with {", `want { "KEY": "value", ... }`)
	}
	_, err := d.dec.ReadToken()
	return err
}

// name reads the next key and returns it with its offset, or "" and -1 after the
// closing brace.
func (d *document) name() (string, int, error) {
	if d.dec.PeekKind() == jsontext.KindEndObject {
		if _, err := d.dec.ReadToken(); err == nil {
			return "", -1, nil
		}
	}
	s, at, err := d.str()
	if err != nil {
		return "", 0, d.nameError(err)
	}
	return s, at, nil
}

// value reads the value of a key and returns it with its offset.
func (d *document) value(key string) (string, int, error) {
	after := int(d.dec.InputOffset())
	colon := d.skip(after)
	if d.peek(colon) != ':' {
		if err := d.foreign(colon, key); err != nil {
			return "", 0, err
		}
		return "", 0, d.mistake(after, key, "the colon and the value are missing", `want "`+key+`": "value"`)
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
		return "", 0, d.mistake(at, key, "the value is missing", `want a string, "" for the default`)
	}
	if other != "" {
		return "", 0, d.mistake(at, key, "the value is "+other, "want a string, in double quotes")
	}
	s, at, err := d.str()
	if err != nil {
		return "", 0, d.stringError(d.skip(colon+1), key, err)
	}
	return s, at, nil
}

// colon reports whether a colon follows the key that was just read. Without a
// colon the key may be the rest of a password that contains a quote.
func (d *document) colon() bool { return d.peek(d.skip(int(d.dec.InputOffset()))) == ':' }

// end checks that nothing follows the closing brace.
func (d *document) end() error {
	at := d.skip(int(d.dec.InputOffset()))
	if at == len(d.data) {
		return nil
	}
	if err := d.foreign(at, ""); err != nil {
		return err
	}
	return d.mistake(at, "", "text follows the closing }", "want one object only")
}

// str reads a string token.
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

// nameError explains why the decoder found no key.
func (d *document) nameError(cause error) error {
	after := int(d.dec.InputOffset())
	at := d.skip(after)
	if d.read > 0 && d.peek(at) != ',' {
		if err := d.foreign(at, ""); err != nil {
			return err
		}
		switch d.peek(at) {
		case '"':
			return d.mistake(after, "", "a comma is missing here", "want one comma between two keys")
		case ';':
			return d.mistake(at, "", "a semicolon instead of a comma", "want one comma between two keys")
		}
		return d.mistake(at, "", "the value has ended, and no comma follows", `want \" for a " inside a value, and one comma between two keys`)
	}
	comma := at
	if d.read > 0 {
		at = d.skip(comma + 1)
		if d.peek(at) == '}' {
			return d.mistake(comma, "", "a comma after the last value", "want no comma before }")
		}
	}
	if d.peek(at) == ',' {
		return d.mistake(at, "", "a comma too many", "want one comma between two keys")
	}
	return d.stringError(at, "", cause)
}

// stringError explains why the decoder found no string at an offset; key is the
// key whose value was expected, or "" if a key was expected.
func (d *document) stringError(at int, key string, cause error) error {
	if err := d.foreign(at, key); err != nil {
		return err
	}
	what := "a key"
	if key != "" {
		what = "the value"
	}
	var syn *jsontext.SyntacticError
	if d.peek(at) != '"' || !errors.As(cause, &syn) {
		return d.mistake(at, key, what+" is not in double quotes", `want "KEY": "value"`)
	}
	in := max(int(syn.ByteOffset), at)
	switch c := d.peek(in); {
	case in >= len(d.data) || c == '\n' || c == '\r':
		return d.mistake(at, key, "the closing quote is missing on this line", `want "KEY": "value"`)
	case c == '\\':
		return d.mistake(in, key, "not an escape sequence of JSON", `want \\ for a backslash, \" for a quote`)
	case c < ' ':
		return d.mistake(in, key, "a control character", "want printable characters, and \\t for a tab")
	case c >= utf8.RuneSelf:
		return d.mistake(in, key, "bytes that are not UTF-8", "want UTF-8")
	}
	return d.mistake(in, key, "not JSON", "want a string in double quotes")
}

// foreign explains the end of the file and common mistakes, such as comments, at
// an offset. It returns nil if it finds none of them.
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
		return d.mistake(at, key, "the file ends before the closing }", "want } at the end")
	case has("//", "/*", "#"):
		return d.mistake(at, key, "JSON has no comments", "want a file without comments")
	case has("'", "`"):
		return d.mistake(at, key, "the wrong kind of quote", `want double quotes: "`)
	case has("\u201c", "\u201d", "\u201e", "\u2018", "\u2019", "\u00ab", "\u00bb"):
		return d.mistake(at, key, "a typographic quote", `want plain double quotes: "`)
	case has("="):
		return d.mistake(at, key, "an equals sign instead of a colon", `want "KEY": "value"`)
	case has("\u00a0", "\u3000", "\ufeff", "\u200b"):
		return d.mistake(at, key, "an invisible character", "want plain blanks")
	case has("\x00"):
		return d.mistake(at, key, "a NUL byte", "want UTF-8")
	}
	return nil
}

func (d *document) mistake(at int, key, problem, want string) error {
	return &mistake{fault{hide: true, problem: problem, want: want}, at, key}
}

// skip returns the offset of the next byte that is not a blank.
func (d *document) skip(at int) int {
	for at < len(d.data) && strings.IndexByte(" \t\r\n", d.data[at]) >= 0 {
		at++
	}
	return min(at, len(d.data))
}

// peek returns the byte at an offset, 0 after the end.
func (d *document) peek(at int) byte {
	if at >= len(d.data) {
		return 0
	}
	return d.data[at]
}

// word reports whether the complete word at an offset is w.
func (d *document) word(at int, w string) bool {
	return bytes.HasPrefix(d.data[at:], []byte(w)) &&
		strings.IndexByte(" \t\r\n,}\x00", d.peek(at+len(w))) >= 0
}
