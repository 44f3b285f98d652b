package session

import "goguerrillad/internal/smtp"

// startTLS is RFC 3207. Feed consumes nothing after the command, and the driver discards
// any clear text after the command.
func (s *Session) startTLS(arg string) smtp.Reply {
	switch {
	case arg != "":
		return smtp.ReplyNoArgument
	case s.tls != "":
		return smtp.ReplyTLSActive
	case !s.environment.Settings().StartTLS:
		return smtp.ReplyNoTLS
	}
	s.reset()
	s.request = RequestStartTLS
	return smtp.ReplyStartTLS
}

// ImplicitTLS makes the session begin with a TLS handshake instead of the greeting
// (RFC 8314 section 3). Greet follows after TLSStarted.
func (s *Session) ImplicitTLS() { s.request = RequestStartTLS }

// TLSStarted completes RequestStartTLS. The session discards the name that the client
// sent in clear (RFC 3207 section 4.2) and keeps the number of errors. description is
// the protocol version and the cipher suite.
func (s *Session) TLSStarted(description string) {
	if s.request != RequestStartTLS {
		return
	}
	s.request = RequestInput
	s.inTLS, s.tls = true, description
	s.name, s.helloReceived, s.extended = "", false, false
	s.progress++
}
