package smtp

import (
	"strings"
	"unicode/utf8"
)

// Path is the mailbox in a reverse-path or forward-path, as it was given. A
// source route in front of it is forgotten (RFC 5321 appendix C).
type Path struct {
	Local  string // quotes and backslashes kept
	Domain string // or address literal with its brackets; "" for the null path, a bare postmaster, and a sender without one
}

// String returns the mailbox without angle brackets, "" for the null path.
func (p Path) String() string {
	if p.Domain == "" {
		return p.Local
	}
	return p.Local + "@" + p.Domain
}

// ASCII reports whether the path can be used without SMTPUTF8.
func (p Path) ASCII() bool { return isASCII(p.Local) && isASCII(p.Domain) }

// Lengths in octets. RFC 5321 section 4.5.3.1 asks for at least 64 and 255,
// and for no limit where that can be. Bounce addresses that name the recipient
// (VERP, SRS) go beyond 64, and no large receiver refuses them.
const (
	maxLocal  = 256
	maxDomain = 255
)

// A side is what the two kinds of path differ in.
type side struct {
	keyword string // in front of the colon
	usage   string // of the command
	code    string // enhanced code of an address with bad syntax
	name    string // of the address, in a reply
}

// ParseReversePath reads the argument of MAIL: FROM:, the path, and what
// stands behind it. A null path is <>. A sender without a domain is taken, as
// Postfix does: devices and cron jobs have no better name.
//
// Also taken: the keyword in any case, blanks round its colon and inside the
// brackets, a path without brackets, a local part with dots where RFC 5321 has
// none, a domain with underscores, or with the dot of the root, which is
// dropped. A refusal is 501, with 5.5.4 where there is no path to be seen and
// 5.1.7 where it is wrong, or 553 5.6.7 for an address that is not UTF-8.
func ParseReversePath(arg string) (p Path, params string, refusal *Reply) {
	from := side{"FROM", "MAIL FROM:<address>", BadSenderSyntax, "Sender"}
	return from.parse(arg)
}

// ParseForwardPath reads the argument of RCPT: TO:, the path, and what stands
// behind it. It is as lenient as [ParseReversePath], but takes no null path
// and only postmaster, in any case, without a domain (RFC 5321 section
// 4.1.1.3). A refusal is 501, with 5.5.4 where there is no path to be seen and
// 5.1.3 where it is wrong, or 553 5.6.7 for an address that is not UTF-8.
func ParseForwardPath(arg string) (p Path, params string, refusal *Reply) {
	to := side{"TO", "RCPT TO:<address>", BadRecipientSyntax, "Recipient"}
	p, params, refusal = to.parse(arg)
	switch {
	case refusal != nil:
	case p.Local == "":
		return Path{}, "", to.refuse("is empty")
	case p.Domain == "" && !isWord(p.Local, "postmaster"):
		return Path{}, "", to.refuse("needs a domain")
	}
	return p, params, refusal
}

// parse reads one argument.
func (s side) parse(arg string) (p Path, params string, refusal *Reply) {
	word, rest, found := strings.Cut(arg, ":")
	path, params, closed := cutPath(strings.Trim(rest, blanks))
	mailbox, bracketed := strings.CutPrefix(path, "<")
	switch {
	case !found, path == "", !isWord(strings.Trim(word, blanks), s.keyword),
		!bracketed && !strings.Contains(path, "@") && strings.Contains(path, "="): // a parameter, and no path
		return Path{}, "", replySyntax(s.usage)
	case !closed:
		return Path{}, "", s.refuse("has unbalanced brackets or quotes, or no blank after it")
	case !utf8.ValidString(path):
		return Path{}, "", replyNotUTF8(s.name)
	case hasOddRune(path):
		return Path{}, "", s.refuse("has a control character or a space")
	case !bracketed:
		p, refusal = s.mailbox(path)
	default:
		mailbox = strings.Trim(strings.TrimSuffix(mailbox, ">"), blanks)
		if mailbox != "" {
			p, refusal = s.mailbox(mailbox)
		}
	}
	if refusal != nil {
		return Path{}, "", refusal
	}
	return p, params, nil
}

// mailbox reads what stands between the brackets, when it is not empty.
func (s side) mailbox(text string) (Path, *Reply) {
	text, ok := cutRoute(text)
	if !ok {
		return Path{}, s.refuse("has a bad source route")
	}
	n := localLen(text)
	p := Path{Local: text[:n]}
	domain, found := strings.CutPrefix(text[n:], "@")
	switch {
	case n == 0, !found && domain != "":
		return Path{}, s.refuse("has a bad local part")
	case n > maxLocal:
		return Path{}, s.refuse("has a local part that is too long")
	case found:
		if p.Domain = domain; !strings.HasPrefix(domain, "[") {
			p.Domain = strings.TrimSuffix(domain, ".")
		}
		if !isDomain(p.Domain) {
			return Path{}, s.refuse("has a bad domain")
		}
	}
	return p, nil
}

// refuse returns the refusal of a path that is there and wrong.
func (s side) refuse(why string) *Reply { return replyAddress(s.code, s.name, why) }
