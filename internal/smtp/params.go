package smtp

import (
	"math"
	"strings"
)

// A Body is the type of a message's text (RFC 6152, RFC 3030).
type Body uint8

const (
	Body7Bit Body = iota // the default
	Body8BitMIME
	BodyBinaryMIME
)

// MailParams are the parameters of MAIL.
type MailParams struct {
	Size       int64 // declared size in bytes (RFC 1870); math.MaxInt64 if it is larger, -1 if it is not declared
	Body       Body
	UTF8       bool // RFC 6531
	RequireTLS bool // RFC 8689
}

// ParseMailParams parses the parameters of MAIL; upper and lower case are equal in
// keywords and values. AUTH=, RET= and ENVID= are ignored, since some senders send them
// although EHLO does not announce them, and do not retry without them. A refusal is
// 555 5.5.4 for an unknown parameter, and 501 5.5.4 for a parameter that is malformed or
// appears twice.
func ParseMailParams(params string) (MailParams, *Reply) {
	m := MailParams{Size: -1}
	names := []string{"SIZE", "BODY", "SMTPUTF8", "REQUIRETLS", "AUTH", "RET", "ENVID"}
	refusal := eachParam(params, names, func(name, value string) (ok bool) {
		switch name {
		case "SIZE":
			m.Size, ok = parseSize(value)
			return ok && len(value) <= maxSizeDigits
		case "BODY":
			m.Body, ok = parseBody(value)
			return ok
		case "SMTPUTF8":
			m.UTF8 = true
			return value == ""
		case "REQUIRETLS":
			m.RequireTLS = true
			return value == ""
		}
		return value != ""
	})
	if refusal != nil {
		return MailParams{Size: -1}, refusal
	}
	return m, nil
}

// ParseRcptParams checks the parameters of RCPT: NOTIFY= and ORCPT=, which are
// ignored. Its refusals are those of [ParseMailParams].
func ParseRcptParams(params string) *Reply {
	return eachParam(params, []string{"NOTIFY", "ORCPT"}, func(_, value string) bool {
		return value != ""
	})
}

// eachParam calls set for each parameter, with its name as written in names, and its
// value, "" if it has none. set reports whether the value is valid.
func eachParam(params string, names []string, set func(name, value string) (ok bool)) *Reply {
	seen := 0 // one bit for each name
	for params = strings.Trim(params, blanks); params != ""; {
		word := params
		if i := strings.IndexAny(params, blanks); i >= 0 {
			word = params[:i]
		}
		params = strings.TrimLeft(params[len(word):], blanks)

		keyword, value, hasValue := strings.Cut(word, "=")
		if !isKeyword(keyword) || hasValue && !isValue(value) {
			return &ReplyMalformedParameter
		}
		i := 0
		for i < len(names) && !equalFold(names[i], keyword) {
			i++
		}
		switch {
		case i == len(names):
			return &ReplyUnknownParameter
		case seen&(1<<i) != 0:
			return replyTwice(names[i])
		case !set(names[i], value):
			return replyMalformed("parameter", names[i])
		}
		seen |= 1 << i
	}
	return nil
}

// isValue reports whether s is an esmtp-value (RFC 5321 section 4.1.2, RFC 6531
// section 3.3). It also accepts equals signs, which do no harm.
func isValue(s string) bool {
	for i := range len(s) {
		if isControl(s[i]) {
			return false
		}
	}
	return s != ""
}

// maxSizeDigits is the maximum length of a declared size (RFC 1870 section 3).
const maxSizeDigits = 20

// parseSize parses decimal digits. It returns math.MaxInt64 for a number that does not
// fit into an int64.
func parseSize(s string) (n int64, ok bool) {
	for i := range len(s) {
		d := int64(s[i]) - '0'
		if d < 0 || d > 9 {
			return 0, false
		}
		if n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
		} else {
			n = n*10 + d
		}
	}
	return n, s != ""
}

func parseBody(s string) (b Body, ok bool) {
	switch {
	case equalFold(s, "7BIT"):
		return Body7Bit, true
	case equalFold(s, "8BITMIME"):
		return Body8BitMIME, true
	case equalFold(s, "BINARYMIME"):
		return BodyBinaryMIME, true
	}
	return Body7Bit, false
}

// ParseBdat parses the argument of BDAT (RFC 3030 section 2): the size of the chunk in
// bytes, math.MaxInt64 if it does not fit into an int64, and whether the chunk is the
// last. A refusal is 501 5.5.4; then the size of the chunk is unknown.
func ParseBdat(arg string) (size int64, last bool, refusal *Reply) {
	arg = strings.Trim(arg, blanks)
	digits := arg
	if i := strings.IndexAny(arg, blanks); i >= 0 {
		digits = arg[:i]
		last = equalFold(strings.TrimLeft(arg[i:], blanks), "LAST")
		if !last {
			digits = ""
		}
	}
	size, ok := parseSize(digits)
	if !ok {
		return 0, false, replySyntax("BDAT size [LAST]")
	}
	return size, last, nil
}
