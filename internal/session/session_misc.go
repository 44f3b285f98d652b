package session

import "goguerrillad/internal/smtp"

// noop is RFC 5321 section 4.1.1.9.
func (s *Session) noop(string) smtp.Reply { return smtp.ReplyOK }

// help is RFC 5321 section 4.1.1.8.
func (s *Session) help(string) smtp.Reply { return smtp.ReplyHelp }

// vrfy is RFC 5321 section 4.1.1.6 and tells nothing (section 7.3).
func (s *Session) vrfy(arg string) smtp.Reply {
	if arg == "" {
		return smtp.ReplyArgumentMissing
	}
	return smtp.ReplyCannotVerify
}

// expn is RFC 5321 section 4.1.1.7, which we lack.
func (s *Session) expn(string) smtp.Reply { return smtp.ReplyNotImplemented }

// quit is RFC 5321 section 4.1.1.10. A transaction that is not complete is
// forgotten.
func (s *Session) quit(string) smtp.Reply {
	s.quitting = true
	s.close()
	return smtp.ReplyBye
}

// unknown answers what is no verb of ours. A web browser is shown the door
// before it sends a form with mail in it.
func (s *Session) unknown(line []byte) smtp.Reply {
	if smtp.LooksLikeHTTP(line) {
		s.logEnd(smtp.ReplyNotHTTP)
		s.close()
		return smtp.ReplyNotHTTP
	}
	return smtp.ReplyUnknownCommand
}
