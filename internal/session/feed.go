package session

import (
	"bytes"
	"log/slog"

	"goguerrillad/internal/smtp"
)

// Feed consumes input: complete commands, and text after them. The caller keeps
// in[used:], which is an incomplete command or follows a request, and feeds it again
// with the next input. A line that is too long is consumed as it arrives, and refused
// at its end. Feed may change in[:used], and keeps no reference to in.
func (s *Session) Feed(in, out []byte) (used int, _ []byte) {
	out = s.endIfDrained(out)
	for s.request == RequestInput && used < len(in) {
		var n int
		switch s.state {
		case inText, inChunk:
			n, out = s.feedText(in[used:], out)
		case inDiscardedText:
			n, out = s.feedDiscardedText(in[used:], out)
		case inDiscardedChunk:
			n, out = s.feedDiscardedChunk(in[used:], out)
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

// feedLine consumes one command line. Only CR LF ends a line (RFC 5321 section 2.3.8).
// A bare LF is refused immediately, since the client may wait for a reply, and the bytes
// from it to the next CR LF never run as a command.
func (s *Session) feedLine(in, out []byte) (used int, _ []byte) {
	if !s.inTLS && !s.longLine && !s.bareLF && smtp.LooksLikeTLS(in) {
		s.log(slog.LevelDebug, "TLS without STARTTLS")
		s.requestClose()
		return len(in), out
	}
	i := bytes.IndexByte(in, '\n')
	if i < 0 {
		return s.incompleteLine(in), out
	}
	used = i + 1
	crlf := i > 0 && in[i-1] == '\r'
	line := in[:max(i-1, 0)]
	refusal := smtp.Reply{}
	switch {
	case s.longLine || used > MaxLine || used > maxPlainLine && !hasUTF8(line):
		refusal = smtp.ReplyLineTooLong
	case !crlf || s.bareLF:
		refusal = smtp.ReplyNoCRLF
	case bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0:
		refusal = smtp.ReplyControlCharacter
	}
	s.longLine, s.bareLF, s.lineReceived = false, !crlf, true
	if refusal.Code != 0 {
		s.logRefusedLine()
		return used, s.finishCommand(out, refusal)
	}
	return used, s.finishCommand(out, s.command(line))
}

// incompleteLine returns the number of bytes to consume of a line without an LF: none,
// or if the line is too long, all except a final CR, which may begin a CR LF.
func (s *Session) incompleteLine(in []byte) (used int) {
	if !s.longLine && len(in) < MaxLine {
		return 0
	}
	s.longLine = true
	if in[len(in)-1] == '\r' {
		return len(in) - 1
	}
	return len(in)
}

// hasUTF8 reports whether a line has the parameter that allows more than maxPlainLine
// bytes.
func hasUTF8(line []byte) bool {
	return bytes.Contains(bytes.ToUpper(line), []byte(" SMTPUTF8"))
}

// command runs one line. The zero Reply means that the reply follows later.
func (s *Session) command(line []byte) smtp.Reply {
	verb, arg := smtp.ParseCommand(line)
	run := method(verb)
	if s.settings.Verbose {
		s.logCommand(line, run != nil)
	}
	if run == nil {
		return s.unknownCommand(line)
	}
	return run(s, arg)
}

// method returns the method that implements a verb, nil if there is none.
func method(verb string) func(*Session, string) smtp.Reply {
	switch verb {
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
