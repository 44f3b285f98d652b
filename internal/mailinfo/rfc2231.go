package mailinfo

import (
	"slices"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
)

// rawParam returns the value of a parameter as bytes: its extended form (RFC 2231
// section 4), or its sections (section 3) if there is no extended form, or its plain
// form if there are no sections. An extended value is returned
// percent-decoded, with its charset label or "".
func rawParam(params []param, name string) (value []byte, charset string, extended bool) {
	var plain string
	var sections []param
	for _, p := range params {
		switch {
		case p.name != name || p.value == "":
		case p.section != unsectioned:
			sections = append(sections, p)
		case !p.extended:
			if plain == "" {
				plain = p.value
			}
		case len(value) == 0:
			value, charset, _ = joinSections([]param{p})
		}
	}
	if len(value) > 0 {
		return value, charset, true
	}
	if len(sections) > 0 {
		return joinSections(sections)
	}
	return []byte(plain), "", false
}

// joinSections joins the sections of a value in the order of their numbers. It
// ignores all sections with the same number except the first.
func joinSections(sections []param) (value []byte, charset string, extended bool) {
	slices.SortStableFunc(sections, func(a, b param) int { return a.section - b.section })
	sections = slices.CompactFunc(sections, func(a, b param) bool { return a.section == b.section })
	for i, p := range sections {
		if !p.extended {
			value = append(value, p.value...)
			continue
		}
		extended = true
		text := p.value
		if i == 0 { // charset'language'text
			if label, rest, ok := strings.Cut(text, "'"); ok {
				if _, rest, ok = strings.Cut(rest, "'"); ok {
					charset, text = label, rest
				}
			}
		}
		start := len(value)
		value = appendPercent(value, text)
		if lookup(charset) == japanese.ISO2022JP {
			value = joinISO2022JP(value, start)
		}
	}
	return value, charset, extended
}

// appendPercent appends s percent-decoded. A percent sign without two hexadecimal
// digits after it stays.
func appendPercent(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

// textParam returns a parameter decoded to one line of text, by RFC 2231. Its
// plain form is decoded by RFC 2047, which no standard allows in parameters but
// many senders use. The encoding raw applies to bytes without a charset.
func textParam(params []param, name string, raw encoding.Encoding) string {
	value, charset, extended := rawParam(params, name)
	if !extended {
		return decodeText(value, raw)
	}
	if enc := lookup(charset); enc != nil {
		return oneLine(decode(enc, value))
	}
	return oneLine(decodeRaw(value, raw))
}
