package smtp

import (
	"strings"
	"unicode/utf8"
)

// A Path is the mailbox of a reverse-path or forward-path, as given. A source route
// before it is dropped (RFC 5321 appendix C).
type Path struct {
	Local  string // with quotes and backslashes
	Domain string // or address literal with brackets; "" for the null path, a bare postmaster, and a sender without a domain
}

// String returns the mailbox without angle brackets, "" for the null path.
func (p Path) String() string {
	if p.Domain == "" {
		return p.Local
	}
	return p.Local + "@" + p.Domain
}

// ASCII reports whether the path needs no SMTPUTF8.
func (p Path) ASCII() bool { return isASCII(p.Local) && isASCII(p.Domain) }

// Maximum lengths in bytes. RFC 5321 section 4.5.3.1 requires at least 64 and 255.
// Bounce addresses that contain the recipient (VERP, SRS) exceed 64 bytes.
const (
	maxLocal  = 256
	maxDomain = 255
)

// A pathKind holds the differences between the paths of MAIL and RCPT.
type pathKind struct {
	keyword string // before the colon
	usage   string // of the command
	code    string // enhanced code for a malformed address
	party   string // Sender or Recipient, in a reply
}

// ParseReversePath parses the argument of MAIL: FROM:, the path, and the parameters,
// which it returns unparsed. A null path is <>. A sender without a domain is valid, as
// in Postfix, since devices and cron jobs send it.
//
// Beyond RFC 5321 it accepts: blanks around the colon and inside the brackets, a path
// without brackets, a local part with dots at any place, a domain with underscores,
// and a domain with a final dot, which it drops. The keyword may be in lower case. A
// refusal is 501 5.5.4 if there is no path, 501 5.1.7 if the path is malformed, and
// 553 5.6.7 if the address is not UTF-8.
func ParseReversePath(arg string) (p Path, params string, refusal *Reply) {
	from := pathKind{"FROM", "MAIL FROM:<address>", codeBadSenderSyntax, "Sender"}
	return from.parse(arg)
}

// ParseForwardPath parses the argument of RCPT: TO:, the path, and the parameters. It
// accepts the syntax of [ParseReversePath] except a null path. Only postmaster, in
// upper or lower case, needs no domain (RFC 5321 section 4.1.1.3). A refusal is
// 501 5.5.4 if there is no path, 501 5.1.3 if the path is malformed, and 553 5.6.7 if
// the address is not UTF-8.
func ParseForwardPath(arg string) (p Path, params string, refusal *Reply) {
	to := pathKind{"TO", "RCPT TO:<address>", codeBadRecipientSyntax, "Recipient"}
	p, params, refusal = to.parse(arg)
	switch {
	case refusal != nil:
	case p.Local == "":
		return Path{}, "", to.refuse("is empty")
	case p.Domain == "" && !equalFold(p.Local, "postmaster"):
		return Path{}, "", to.refuse("needs a domain")
	}
	return p, params, refusal
}

// parse parses the argument of MAIL or RCPT.
func (k pathKind) parse(arg string) (p Path, params string, refusal *Reply) {
	word, rest, found := strings.Cut(arg, ":")
	path, params, closed := cutPath(strings.Trim(rest, blanks))
	mailbox, bracketed := strings.CutPrefix(path, "<")
	switch {
	case !found, path == "", !equalFold(strings.Trim(word, blanks), k.keyword),
		!bracketed && !strings.Contains(path, "@") && strings.Contains(path, "="): // a parameter instead of a path
		return Path{}, "", replySyntax(k.usage)
	case !closed:
		return Path{}, "", k.refuse("has unbalanced brackets or quotes, or no space after it")
	case !utf8.ValidString(path):
		return Path{}, "", replyNotUTF8(k.party)
	case hasControlOrSpace(path):
		return Path{}, "", k.refuse("has a control character or a space")
	case !bracketed:
		p, refusal = k.mailbox(path)
	default:
		mailbox = strings.Trim(strings.TrimSuffix(mailbox, ">"), blanks)
		if mailbox != "" {
			p, refusal = k.mailbox(mailbox)
		}
	}
	if refusal != nil {
		return Path{}, "", refusal
	}
	return p, params, nil
}

// mailbox parses a mailbox that is not empty, with its source route.
func (k pathKind) mailbox(text string) (Path, *Reply) {
	text, ok := cutRoute(text)
	if !ok {
		return Path{}, k.refuse("has a bad source route")
	}
	n := localLen(text)
	p := Path{Local: text[:n]}
	domain, found := strings.CutPrefix(text[n:], "@")
	switch {
	case n == 0, !found && domain != "":
		return Path{}, k.refuse("has a bad local part")
	case n > maxLocal:
		return Path{}, k.refuse("has a local part that is too long")
	case found:
		if p.Domain = domain; !strings.HasPrefix(domain, "[") {
			p.Domain = strings.TrimSuffix(domain, ".")
		}
		if !isDomain(p.Domain) {
			return Path{}, k.refuse("has a bad domain")
		}
	}
	return p, nil
}

// refuse refuses a malformed address.
func (k pathKind) refuse(problem string) *Reply { return replyAddress(k.code, k.party, problem) }
