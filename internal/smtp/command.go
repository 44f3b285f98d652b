package smtp

import "bytes"

// ParseCommand splits a command line without its CR LF into the verb in upper case
// and the argument without blanks around it. Blanks are spaces and tabs. The verb
// is allocated only if the server does not implement it.
func ParseCommand(line []byte) (verb, arg string) {
	line = bytes.Trim(line, blanks)
	word := line
	if i := bytes.IndexAny(line, blanks); i >= 0 {
		word = line[:i]
		arg = string(bytes.TrimLeft(line[i:], blanks))
	}
	return upperVerb(word), arg
}

// blanks separate words. RFC 5321 allows only spaces; tabs do no harm.
const blanks = " \t"

// longestVerb is the length of STARTTLS.
const longestVerb = 8

// upperVerb converts ASCII letters to upper case. strings.ToUpper would also convert
// a long s (U+017F) to an S.
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

// LooksLikeHTTP reports whether a command line begins with an HTTP method in upper
// or lower case. No method is also an SMTP verb.
func LooksLikeHTTP(line []byte) bool {
	verb, _ := ParseCommand(line)
	switch verb {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI":
		return true
	}
	return false
}

// LooksLikeTLS reports whether a client's first bytes begin a TLS handshake record
// (RFC 8446 section 5.1: type 22, version 3.x), sent without STARTTLS.
func LooksLikeTLS(first []byte) bool {
	return len(first) >= 2 && first[0] == 22 && first[1] == 3
}
