package smtp

import (
	"math"
	"strings"
)

// Body is what the client says of the message's bytes (RFC 6152, RFC 3030).
type Body uint8

const (
	Body7Bit Body = iota // or not said
	Body8BitMIME
	BodyBinaryMIME
)

// MailParams is what the parameters of MAIL say.
type MailParams struct {
	Size       int64 // declared bytes (RFC 1870), math.MaxInt64 for more than that, -1 when not declared
	Body       Body
	UTF8       bool // RFC 6531
	RequireTLS bool // RFC 8689
}

// ParseMailParams reads what stands behind the path of MAIL. AUTH=, RET= and
// ENVID= are read and ignored, since some senders send them unasked and never
// repeat without. Keywords and values are in any case. A refusal is 555 5.5.4
// for a parameter that is not known, and 501 5.5.4 for one that is malformed
// or comes twice.
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

// ParseRcptParams reads what stands behind the path of RCPT: NOTIFY= and
// ORCPT=, which are ignored. Its refusals are those of [ParseMailParams].
func ParseRcptParams(params string) *Reply {
	return eachParam(params, []string{"NOTIFY", "ORCPT"}, func(_, value string) bool {
		return value != ""
	})
}

// eachParam calls take for each parameter, with its name as it stands in names
// and its value, "" when it has none; take reports whether the value is good.
func eachParam(params string, names []string, take func(name, value string) bool) *Reply {
	seen := 0 // a bit for each of the names
	for params = strings.Trim(params, blanks); params != ""; {
		word := params
		if i := strings.IndexAny(params, blanks); i >= 0 {
			word = params[:i]
		}
		params = strings.TrimLeft(params[len(word):], blanks)

		keyword, value, valued := strings.Cut(word, "=")
		if !isKeyword(keyword) || valued && !isValue(value) {
			return &ReplyMalformedParameter
		}
		i := 0
		for i < len(names) && !isWord(names[i], keyword) {
			i++
		}
		switch {
		case i == len(names):
			return &ReplyUnknownParameter
		case seen&(1<<i) != 0:
			return replyTwice(names[i])
		case !take(names[i], value):
			return replyMalformed("parameter", names[i])
		}
		seen |= 1 << i
	}
	return nil
}

// isValue reports whether s is an esmtp-value (RFC 5321 section 4.1.2, RFC
// 6531 section 3.3). An equals sign in it harms nothing.
func isValue(s string) bool {
	for i := range len(s) {
		if isControl(s[i]) {
			return false
		}
	}
	return s != ""
}

// maxSizeDigits is how long a declared size may be (RFC 1870 section 3).
const maxSizeDigits = 20

// parseSize reads decimal digits; what is beyond an int64 is math.MaxInt64.
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
	case isWord(s, "7BIT"):
		return Body7Bit, true
	case isWord(s, "8BITMIME"):
		return Body8BitMIME, true
	case isWord(s, "BINARYMIME"):
		return BodyBinaryMIME, true
	}
	return Body7Bit, false
}

// ParseBdat reads the argument of BDAT: the bytes that follow its line, and
// whether they are the last (RFC 3030 section 2). A size beyond an int64 is
// math.MaxInt64. A refusal, 501 5.5.4, leaves it open how many bytes follow.
func ParseBdat(arg string) (size int64, last bool, refusal *Reply) {
	arg = strings.Trim(arg, blanks)
	digits := arg
	if i := strings.IndexAny(arg, blanks); i >= 0 {
		digits = arg[:i]
		last = isWord(strings.TrimLeft(arg[i:], blanks), "LAST")
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
