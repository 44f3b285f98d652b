package session

import (
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
)

// mail is RFC 5321 section 4.1.1.2.
func (s *Session) mail(arg string) smtp.Reply {
	switch {
	case !s.greeted:
		return smtp.ReplyHelloFirst
	case s.tx != nil:
		return smtp.ReplyNestedMail
	}
	from, rest, refusal := smtp.ParseReversePath(arg)
	if refusal != nil {
		return *refusal
	}
	params, refusal := smtp.ParseMailParams(rest)
	if refusal != nil {
		return *refusal
	}
	s.settings = s.world.Settings()
	address := from.String()
	switch {
	case !params.UTF8 && !from.ASCII():
		return s.refuseMail(address, smtp.ReplyNeedUTF8)
	case params.RequireTLS && !s.secure:
		return s.refuseMail(address, smtp.ReplyNeedTLS)
	case params.Size > s.settings.MaxSize:
		return s.refuseMail(address, smtp.ReplyTooBig)
	}

	s.lostChunk = false
	s.tx = &transaction{params: params, env: envelope.Envelope{
		Session:  s.id,
		Remote:   s.client,
		Helo:     s.name,
		Protocol: s.protocol(params.UTF8),
		TLS:      s.tls,
		Host:     s.settings.HostName,
		From:     address,
	}}
	return smtp.ReplySenderOK
}

// protocol returns the keyword of RFC 3848 and RFC 6531 section 4.3; its A is
// for a login at a proxy, since there is none here. None is
// registered for HELO inside TLS: SMTP, since the added header lines name the
// cipher anyway.
func (s *Session) protocol(utf8 bool) string {
	secure := s.tls != ""
	switch {
	case utf8 && secure && s.login != "":
		return "UTF8SMTPSA"
	case utf8 && secure:
		return "UTF8SMTPS"
	case utf8 && s.login != "":
		return "UTF8SMTPA"
	case utf8:
		return "UTF8SMTP"
	case s.extended && secure && s.login != "":
		return "ESMTPSA"
	case s.extended && secure:
		return "ESMTPS"
	case s.extended && s.login != "":
		return "ESMTPA"
	case s.extended:
		return "ESMTP"
	}
	return "SMTP"
}

// rset is RFC 5321 section 4.1.1.5.
func (s *Session) rset(arg string) smtp.Reply {
	if arg != "" {
		return smtp.ReplyNoArgument
	}
	s.reset()
	return smtp.ReplyOK
}

// reset forgets the transaction.
func (s *Session) reset() {
	s.drop()
	s.lostChunk = false
}
