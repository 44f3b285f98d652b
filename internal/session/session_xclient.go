package session

import (
	"log/slog"
	"net/netip"

	"goguerrillad/internal/smtp"
)

// xclient lets a trusted proxy say whom it speaks for (Postfix's XCLIENT). The
// session is back at its greeting then, but for what was said here, for TLS,
// and for a HELO: a proxy whose client has not greeted sends none of its own.
//
// Once the client's address is given nothing more is taken: proxies pass on
// what their clients send, and that may be XCLIENT.
func (s *Session) xclient(arg string) smtp.Reply {
	switch {
	case !s.mayXClient():
		if !s.forging {
			s.forging = true
			s.log(slog.LevelWarn, "XCLIENT refused", slog.String("reply", smtp.ReplyNotTrusted.Error()))
		}
		return smtp.ReplyNotTrusted
	case s.tx != nil:
		return smtp.ReplyXClientInMessage
	}
	x, refusal := smtp.ParseXClient(arg)
	if refusal != nil {
		return *refusal
	}
	s.reset()
	s.settings = s.world.Settings()
	s.name, s.extended = "", x.Proto == "ESMTP"
	if x.HasHelo {
		s.name, s.greeted = x.Helo, true
	}
	if x.HasLogin {
		s.login = x.Login
	}
	if x.HasAddr {
		s.client, s.spokenFor = netip.AddrPortFrom(x.Addr, x.Port), true
		if s.move != nil {
			if refusal := s.move(x.Addr); refusal != nil {
				s.close()
				return *refusal
			}
		}
	}
	return s.greeting()
}

// mayXClient reports whether the peer may say whom it speaks for.
func (s *Session) mayXClient() bool {
	trusted := s.world.Settings().Trusted
	return !s.spokenFor && trusted != nil && trusted.Match(s.socket.Addr().Unmap())
}
