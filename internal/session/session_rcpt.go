package session

import (
	"log/slog"
	"strings"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
)

// rcpt is RFC 5321 section 4.1.1.3. A recipient that is repeated is granted
// again and stays one row; it is the same when it has the same bytes.
func (s *Session) rcpt(arg string) smtp.Reply {
	switch {
	case s.tx == nil:
		return smtp.ReplyMailFirst
	case s.tx.chunked:
		return smtp.ReplyRcptAfterChunk
	}
	to, rest, refusal := smtp.ParseForwardPath(arg)
	if refusal != nil {
		return *refusal
	}
	if refusal := smtp.ParseRcptParams(rest); refusal != nil {
		return *refusal
	}
	address := s.mailbox(to)
	switch {
	case !s.tx.params.UTF8 && !to.ASCII():
		return s.refuseRcpt(address, smtp.ReplyNeedUTF8)
	case s.tx.granted == maxRecipients:
		return s.refuseRcpt(address, smtp.ReplyTooManyRecipients)
	case to.Domain != "" && !s.settings.Hosts.Match(to.Domain):
		return s.refuseRcpt(address, smtp.ReplyRelayingDenied)
	}
	if s.settings.Fits != nil {
		if refusal := s.settings.Fits(address); refusal != nil {
			return s.refuseRcpt(address, *refusal)
		}
	}
	if s.settings.Recipients != nil {
		refusal, known := s.settings.Recipients.Known(address)
		if !known {
			s.tx.candidate, s.wish = address, WishRecipient
			return smtp.Reply{}
		}
		if refusal != nil {
			return s.refuseRcpt(address, *refusal)
		}
	}
	return s.grantRcpt(address)
}

// Check asks about the recipient of WishRecipient; done is as Recipients.Ask
// has it, and what it hears is for Checked.
func (s *Session) Check(done func(refusal *smtp.Reply)) {
	s.settings.Recipients.Ask(s.tx.candidate, done)
}

// Checked answers WishRecipient: nil, or the refusal.
func (s *Session) Checked(refusal *smtp.Reply, out []byte) []byte {
	if s.wish != WishRecipient {
		return out
	}
	s.wish = WishInput
	if refusal != nil {
		return s.answer(out, s.refuseRcpt(s.tx.candidate, *refusal))
	}
	return s.answer(out, s.grantRcpt(s.tx.candidate))
}

// grantRcpt takes a recipient.
func (s *Session) grantRcpt(address string) smtp.Reply {
	s.tx.granted++
	for _, known := range s.tx.env.To {
		if known.Address == address {
			return smtp.ReplyRecipientOK
		}
	}
	s.tx.env.To = append(s.tx.env.To, envelope.Recipient{Address: address})
	return smtp.ReplyRecipientOK
}

// refuseRcpt refuses a recipient, and logs it: of recipients that are too many only
// the first, since nothing bounds their number, and of an outage as Repeats has it.
func (s *Session) refuseRcpt(address string, reply smtp.Reply) smtp.Reply {
	switch {
	case reply == smtp.ReplyTooManyRecipients:
		if s.tx.overfull {
			return reply
		}
		s.tx.overfull = true
	case reply.Code >= 500:
		s.tx.refused = true
		s.refused++
	default:
		s.tx.deferred = true
		if !s.world.Repeats.first(slog.LevelInfo, "recipients refused", reply.Error()) {
			return reply
		}
	}
	s.logRcpt(address, reply)
	return reply
}

// mailbox returns the address as it is stored: as given, but for a postmaster
// without a domain (RFC 5321 section 2.3.5), the one path that may lack it.
func (s *Session) mailbox(to smtp.Path) string {
	if to.Domain == "" && strings.EqualFold(to.Local, "postmaster") {
		return "postmaster@" + s.settings.PrimaryHost
	}
	return to.String()
}
