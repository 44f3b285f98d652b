package session

import "goguerrillad/internal/smtp"

// noop is RFC 5321 section 4.1.1.9.
func (s *Session) noop(string) smtp.Reply { return smtp.ReplyOK }

// help is RFC 5321 section 4.1.1.8.
func (s *Session) help(string) smtp.Reply { return smtp.ReplyHelp }

// vrfy is RFC 5321 section 4.1.1.6. It does not disclose which addresses exist
// (section 7.3).
func (s *Session) vrfy(arg string) smtp.Reply {
	if arg == "" {
		return smtp.ReplyArgumentMissing
	}
	return smtp.ReplyCannotVerify
}

// expn is RFC 5321 section 4.1.1.7, which is not implemented.
func (s *Session) expn(string) smtp.Reply { return smtp.ReplyNotImplemented }

// quit is RFC 5321 section 4.1.1.10. An incomplete transaction is discarded.
func (s *Session) quit(string) smtp.Reply {
	s.quitReceived = true
	s.requestClose()
	return smtp.ReplyBye
}

// unknownCommand refuses an unknown verb. An HTTP method ends the session, before a web
// browser sends a form that contains SMTP commands.
func (s *Session) unknownCommand(line []byte) smtp.Reply {
	if smtp.LooksLikeHTTP(line) {
		s.logEnd(smtp.ReplyNotHTTP)
		s.requestClose()
		return smtp.ReplyNotHTTP
	}
	return smtp.ReplyUnknownCommand
}
