package session

import (
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
)

// mail is RFC 5321 section 4.1.1.2.
func (s *Session) mail(arg string) smtp.Reply {
	switch {
	case !s.helloReceived:
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
	s.settings = s.environment.Settings()
	address := from.String()
	switch {
	case !params.UTF8 && !from.ASCII():
		return s.refuseSender(address, params, smtp.ReplyNeedUTF8)
	case params.RequireTLS && !s.inTLS:
		return s.refuseSender(address, params, smtp.ReplyNeedTLS)
	case params.Size > s.settings.MaxSize:
		return s.refuseSender(address, params, smtp.ReplyTooBig)
	case s.environment.Full != nil && s.environment.Full():
		return s.refuseSender(address, params, smtp.ReplyNoSpace)
	}

	s.chunkFailed = false
	s.tx = &transaction{params: params, env: envelope.Envelope{
		Session:  s.id,
		Remote:   s.client,
		Helo:     s.name,
		Protocol: s.protocol(params.UTF8),
		TLS:      s.tls,
		Login:    s.login,
		Proxy:    s.proxy(),
		Host:     s.settings.HostName,
		From:     address,
	}}
	return smtp.ReplySenderOK
}

// proxy returns the address of the proxy that has reported the client or its login,
// "unix" for a proxy on a unix socket, or "" without a proxy.
func (s *Session) proxy() string {
	switch {
	case !s.clientReported && s.login == "":
		return ""
	case !s.peer.IsValid():
		return "unix"
	}
	return s.peer.Addr().Unmap().WithZone("").String()
}

// protocol returns the keyword of RFC 3848 and RFC 6531 section 4.3 for the Received
// field. The final A means a login at a proxy. No keyword is registered for HELO inside
// TLS; it is SMTP, since the field also contains the TLS version and cipher suite.
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

// reset ends the transaction and clears chunkFailed.
func (s *Session) reset() {
	s.endTransaction()
	s.chunkFailed = false
}
