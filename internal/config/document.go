package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// document reads the object of a configuration file. The decoder decides what is
// JSON; nameError and stringError explain its errors to people who do not know
// JSON. No message repeats characters of the file, since they may belong to a
// password.
type document struct {
	data []byte
	dec  *jsontext.Decoder
	read int // keys and values so far
}

func newDocument(data []byte) *document {
	// Draft.read refuses duplicates; it knows the position of the first.
	return &document{data: data, dec: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))}
}

// begin reads the opening brace.
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
		return "", 0, d.stringError(d.skip(colon+1), key, err)
	}
	return s, at, nil
}

// colon reports whether a colon follows the key that was just read. Without a
// colon it may be the rest of a password with a quote in it.
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
	return d.fault(at, "", "something follows the closing }", "the file is one object and nothing else")
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

// nameError explains why there is no key.
func (d *document) nameError(cause error) error {
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
		return d.fault(at, "", "the value has ended, and no comma follows", `a " inside a value is written \", and a comma separates two keys`)
	}
	comma := at
	if d.read > 0 {
		at = d.skip(comma + 1)
		if d.peek(at) == '}' {
			return d.fault(comma, "", "a comma after the last value", "remove the comma")
		}
	}
	if d.peek(at) == ',' {
		return d.fault(at, "", "a comma too many", "remove the comma")
	}
	return d.stringError(at, "", cause)
}

// stringError explains why there is no string at an offset; key is the key whose
// value was expected, or "" if a key was expected.
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
		return d.fault(at, key, what+" is not in double quotes", `want "KEY": "value"`)
	}
	in := max(int(syn.ByteOffset), at)
	switch c := d.peek(in); {
	case in >= len(d.data) || c == '\n' || c == '\r':
		return d.fault(at, key, "the closing quote is missing in this line", `want "KEY": "value"`)
	case c == '\\':
		return d.fault(in, key, "not an escape sequence of JSON", `a backslash is written \\, and a quote \"`)
	case c < ' ':
		return d.fault(in, key, "a control character", "want printable characters only, a tab is written \\t")
	case c >= utf8.RuneSelf:
		return d.fault(in, key, "bytes that are not UTF-8", "save the file as UTF-8")
	}
	return d.fault(in, key, "not JSON", "want a string in double quotes")
}

// foreign explains common mistakes that are not JSON, and the end of the file.
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
		return d.fault(at, key, "JSON has no comments", "remove what starts here")
	case has("'", "`"):
		return d.fault(at, key, "the wrong kind of quote", `want double quotes: "`)
	case has("\u201c", "\u201d", "\u201e", "\u2018", "\u2019", "\u00ab", "\u00bb"):
		return d.fault(at, key, "a typographic quote", `want plain double quotes: "`)
	case has("="):
		return d.fault(at, key, "an equals sign in place of a colon", `want "KEY": "value"`)
	case has("\u00a0", "\u3000", "\ufeff", "\u200b"):
		return d.fault(at, key, "an invisible character that is not a plain blank", "remove it")
	case has("\x00"):
		return d.fault(at, key, "a NUL byte, this is not text", "save the file as UTF-8")
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

// peek returns the byte at an offset, 0 after the end.
func (d *document) peek(at int) byte {
	if at >= len(d.data) {
		return 0
	}
	return d.data[at]
}

// word reports whether the word w is alone at an offset.
func (d *document) word(at int, w string) bool {
	return bytes.HasPrefix(d.data[at:], []byte(w)) &&
		strings.IndexByte(" \t\r\n,}\x00", d.peek(at+len(w))) >= 0
}
