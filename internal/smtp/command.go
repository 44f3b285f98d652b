package smtp

import "bytes"

// ParseCommand splits a command line that is given without its CR LF: the verb
// in upper case, up to the first blank, and what follows without the blanks
// round it. Blanks are spaces and tabs. A verb that this package knows costs
// no allocation; any other comes back as it is, in upper case.
func ParseCommand(line []byte) (verb, arg string) {
	line = bytes.Trim(line, blanks)
	word := line
	if i := bytes.IndexAny(line, blanks); i >= 0 {
		word = line[:i]
		arg = string(bytes.TrimLeft(line[i:], blanks))
	}
	return upperVerb(word), arg
}

// blanks separate words. RFC 5321 has the space alone; a tab does no harm.
const blanks = " \t"

// longestVerb is the length of STARTTLS.
const longestVerb = 8

// upperVerb returns the word in upper case. Only the letters of ASCII have one
// here: by the rules of Unicode, a verb could be spelled with a long s.
func upperVerb(word []byte) string {
	var buf [longestVerb]byte
	up := append(buf[:0], word...)
	for i, c := range up {
		if 'a' <= c && c <= 'z' {
			up[i] = c - 'a' + 'A'
		}
	}
	switch string(up) {
	case "HELO":
		return "HELO"
	case "EHLO":
		return "EHLO"
	case "MAIL":
		return "MAIL"
	case "RCPT":
		return "RCPT"
	case "DATA":
		return "DATA"
	case "BDAT":
		return "BDAT"
	case "RSET":
		return "RSET"
	case "NOOP":
		return "NOOP"
	case "QUIT":
		return "QUIT"
	case "VRFY":
		return "VRFY"
	case "EXPN":
		return "EXPN"
	case "HELP":
		return "HELP"
	case "STARTTLS":
		return "STARTTLS"
	case "XCLIENT":
		return "XCLIENT"
	}
	return string(up)
}

// LooksLikeHTTP reports whether a command line begins a request of HTTP: a
// browser, or a web client that was talked into speaking to us. None of the
// methods is a verb of SMTP, so the word alone decides, in any case.
func LooksLikeHTTP(line []byte) bool {
	verb, _ := ParseCommand(line)
	switch verb {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI":
		return true
	}
	return false
}

// LooksLikeTLS reports whether the first bytes of a client are a TLS record
// with a handshake message, sent before STARTTLS (RFC 8446 section 5.1: type
// 22, version 3.x). The client is waiting for an answer in TLS.
func LooksLikeTLS(first []byte) bool {
	return len(first) >= 2 && first[0] == 22 && first[1] == 3
}
