package session

import "goguerrillad/internal/smtp"

// startTLS is RFC 3207. What came in clear behind it is never fed to the
// session: Feed consumes nothing beyond it, and the driver throws it away.
func (s *Session) startTLS(arg string) smtp.Reply {
	switch {
	case arg != "":
		return smtp.ReplyNoArgument
	case s.tls != "":
		return smtp.ReplyTLSActive
	case !s.world.Settings().StartTLS:
		return smtp.ReplyNoTLS
	}
	s.reset()
	s.wish = WishStartTLS
	return smtp.ReplyStartTLS
}

// TLSStarted answers WishStartTLS: all that comes is inside TLS now, and all
// that was said before is forgotten (RFC 3207 section 4.2), except how often
// the client was wrong. The description is the protocol version and the cipher
// suite.
func (s *Session) TLSStarted(description string) {
	if s.wish != WishStartTLS {
		return
	}
	s.wish = WishInput
	s.secure, s.tls = true, description
	s.name, s.greeted, s.extended = "", false, false
	s.turns++
}
