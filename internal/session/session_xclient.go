package session

import (
	"log/slog"
	"net/netip"

	"goguerrillad/internal/smtp"
)

// xclient is Postfix's XCLIENT: a trusted proxy reports its client. The session starts
// again with the greeting, but keeps TLS. It also accepts MAIL without another HELO,
// since a proxy whose client sent no HELO sends none.
//
// After XCLIENT with an address, the session refuses XCLIENT, since the proxy may
// forward an XCLIENT of its client.
func (s *Session) xclient(arg string) smtp.Reply {
	switch {
	case !s.mayXClient():
		if !s.xclientLogged {
			s.xclientLogged = true
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
	s.settings = s.environment.Settings()
	s.name, s.extended = "", x.Proto == "ESMTP"
	if x.HasHelo {
		s.name, s.helloReceived = x.Helo, true
	}
	if x.HasLogin {
		s.login = x.Login
	}
	if x.HasAddr {
		s.client, s.clientReported = netip.AddrPortFrom(x.Addr, x.Port), true
		if s.onClientAddress != nil {
			if refusal := s.onClientAddress(x.Addr); refusal != nil {
				s.requestClose()
				return *refusal
			}
		}
	}
	return s.greeting()
}

// mayXClient reports whether the client may use XCLIENT.
func (s *Session) mayXClient() bool {
	trusted := s.environment.Settings().Trusted
	return !s.clientReported && trusted != nil && trusted.Match(s.peer.Addr().Unmap())
}
