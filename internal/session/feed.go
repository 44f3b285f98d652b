package session

import (
	"bytes"
	"log/slog"

	"goguerrillad/internal/smtp"
)

// Feed consumes what the client sent: whole commands, and text that lies
// behind them. What it leaves, in[used:], is half a command, or what stands
// behind a wish; it is fed again, together with what follows. A line beyond
// its limit is consumed as it comes and answered when it ends. Feed may change
// in[:used], and keeps no reference to it.
func (s *Session) Feed(in, out []byte) (used int, _ []byte) {
	out = s.leave(out)
	for s.wish == WishInput && used < len(in) {
		var n int
		switch s.state {
		case inText, inChunk:
			n, out = s.feedText(in[used:], out)
		case inVoidText:
			n, out = s.feedVoidText(in[used:], out)
		case inVoidChunk:
			n, out = s.feedVoidChunk(in[used:], out)
		default:
			n, out = s.feedLine(in[used:], out)
		}
		if n == 0 {
			break
		}
		used += n
	}
	return used, out
}

// feedLine takes one command line. Only CR LF ends one (RFC 5321 section
// 2.3.8). A bare LF is answered at once, since its sender may wait for that,
// and takes what follows it up to the CR LF with it: nothing on the same line
// is ever run as a command.
func (s *Session) feedLine(in, out []byte) (used int, _ []byte) {
	if !s.secure && !s.long && !s.bareLF && smtp.LooksLikeTLS(in) {
		s.log(slog.LevelDebug, "TLS without STARTTLS")
		s.close()
		return len(in), out
	}
	i := bytes.IndexByte(in, '\n')
	if i < 0 {
		return s.waitForLine(in), out
	}
	used = i + 1
	crlf := i > 0 && in[i-1] == '\r'
	line := in[:max(i-1, 0)]
	refusal := smtp.Reply{}
	switch {
	case s.long || used > MaxLine || used > maxPlainLine && !hasUTF8(line):
		refusal = smtp.ReplyLineTooLong
	case !crlf || s.bareLF:
		refusal = smtp.ReplyNoCRLF
	case bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0:
		refusal = smtp.ReplyControlCharacter
	}
	s.long, s.bareLF, s.spoken = false, !crlf, true
	if refusal.Code != 0 {
		s.logRefusedLine()
		return used, s.answer(out, refusal)
	}
	return used, s.answer(out, s.command(line))
}

// waitForLine consumes nothing of a line that may still be good, and all of
// one that is too long but a CR that may belong to its end.
func (s *Session) waitForLine(in []byte) (used int) {
	if !s.long && len(in) < MaxLine {
		return 0
	}
	s.long = true
	if in[len(in)-1] == '\r' {
		return len(in) - 1
	}
	return len(in)
}

// hasUTF8 reports whether a long line has the parameter that allows it.
func hasUTF8(line []byte) bool {
	return bytes.Contains(bytes.ToUpper(line), []byte(" SMTPUTF8"))
}

// command runs one line. Every verb is a method of the same shape; the zero
// Reply means that the answer comes later.
func (s *Session) command(line []byte) smtp.Reply {
	name, arg := smtp.ParseCommand(line)
	run := verb(name)
	if s.settings.Verbose {
		s.logCommand(line, run != nil)
	}
	if run == nil {
		return s.unknown(line)
	}
	return run(s, arg)
}

// verb returns the method of a verb, nil when there is none.
func verb(name string) func(*Session, string) smtp.Reply {
	switch name {
	case "HELO":
		return (*Session).helo
	case "EHLO":
		return (*Session).ehlo
	case "MAIL":
		return (*Session).mail
	case "RCPT":
		return (*Session).rcpt
	case "DATA":
		return (*Session).data
	case "BDAT":
		return (*Session).bdat
	case "RSET":
		return (*Session).rset
	case "NOOP":
		return (*Session).noop
	case "QUIT":
		return (*Session).quit
	case "VRFY":
		return (*Session).vrfy
	case "EXPN":
		return (*Session).expn
	case "HELP":
		return (*Session).help
	case "STARTTLS":
		return (*Session).startTLS
	case "XCLIENT":
		return (*Session).xclient
	}
	return nil
}
