package session

import (
	"errors"

	"goguerrillad/internal/smtp"
)

// appendReply appends a reply to out, logs it if the dialogue is logged, and passes it
// to Environment.Replied.
func (s *Session) appendReply(out []byte, r smtp.Reply) []byte {
	if s.settings.Verbose {
		s.logReply(r)
	}
	if s.environment.Replied != nil {
		s.environment.Replied(r)
	}
	return r.Append(out)
}

// finishCommand appends the reply to a command or a text, and ends the session after
// too many errors or during a drain. The zero Reply means that the reply follows later.
func (s *Session) finishCommand(out []byte, r smtp.Reply) []byte {
	if r.Code == 0 {
		return out
	}
	out = s.appendReply(out, r)
	s.progress++
	if isError(r) {
		s.errors++
	}
	if s.request == RequestInput && (s.errors >= maxErrors || s.refused >= maxRefused) {
		return s.end(out, smtp.ReplyTooManyErrors)
	}
	return s.endIfDrained(out)
}

// isError reports whether a reply counts towards maxErrors: syntax, order and
// unknown commands.
func isError(r smtp.Reply) bool {
	switch r.Code {
	case 500, 501, 503, 555:
		return r != smtp.ReplyChunkDiscarded
	}
	return false
}

// outcomeReply returns the reply to a message with this outcome of its Save.
func (s *Session) outcomeReply(err error) smtp.Reply {
	if err == nil {
		return smtp.ReplyQueued(s.tx.env.To[0].Hash)
	}
	if r := (smtp.Reply{}); errors.As(err, &r) && r.Code >= 400 {
		return r
	}
	return smtp.ReplyNotStored
}
