package session

import (
	"log/slog"
	"strings"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
)

// rcpt is RFC 5321 section 4.1.1.3. A repeated recipient is accepted again but stays one
// row. Recipients are equal if their bytes are equal.
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
		return s.refuseRecipient(address, smtp.ReplyNeedUTF8)
	case s.tx.accepted == maxRecipients:
		return s.refuseRecipient(address, smtp.ReplyTooManyRecipients)
	case to.Domain != "" && !s.settings.Hosts.Match(to.Domain):
		return s.refuseRecipient(address, smtp.ReplyRelayingDenied)
	}
	if s.settings.Fits != nil {
		if refusal := s.settings.Fits(address); refusal != nil {
			return s.refuseRecipient(address, *refusal)
		}
	}
	if s.settings.Recipients != nil {
		refusal, known := s.settings.Recipients.Known(address)
		if !known {
			s.tx.candidate, s.request = address, RequestRecipient
			return smtp.Reply{}
		}
		if refusal != nil {
			return s.refuseRecipient(address, *refusal)
		}
	}
	return s.acceptRecipient(address)
}

// Check looks up the recipient of RequestRecipient with Recipients.Ask. The driver
// passes the refusal that done receives to Checked.
func (s *Session) Check(done func(refusal *smtp.Reply)) {
	s.settings.Recipients.Ask(s.tx.candidate, done)
}

// Checked completes RequestRecipient with nil or the refusal.
func (s *Session) Checked(refusal *smtp.Reply, out []byte) []byte {
	if s.request != RequestRecipient {
		return out
	}
	s.request = RequestInput
	if refusal != nil {
		return s.finishCommand(out, s.refuseRecipient(s.tx.candidate, *refusal))
	}
	return s.finishCommand(out, s.acceptRecipient(s.tx.candidate))
}

// acceptRecipient adds a recipient unless it is repeated.
func (s *Session) acceptRecipient(address string) smtp.Reply {
	s.tx.accepted++
	for _, known := range s.tx.env.To {
		if known.Address == address {
			return smtp.ReplyRecipientOK
		}
	}
	s.tx.env.To = append(s.tx.env.To, envelope.Recipient{Address: address})
	return smtp.ReplyRecipientOK
}

// refuseRecipient logs the refusal of a recipient and returns its reply. It logs only
// the first recipient beyond maxRecipients, since their number is unbounded. Repeats
// limits the log of temporary refusals.
func (s *Session) refuseRecipient(address string, reply smtp.Reply) smtp.Reply {
	switch {
	case reply == smtp.ReplyTooManyRecipients:
		if s.tx.tooMany {
			return reply
		}
		s.tx.tooMany = true
	case reply.Code >= 500:
		s.tx.refused = true
		s.refused++
	default:
		s.tx.deferred = true
		if !s.environment.Repeats.first(slog.LevelInfo, "recipients refused", reply.Error()) {
			return reply
		}
	}
	s.logRefusedRecipient(address, reply)
	return reply
}

// mailbox returns the address that is stored: the path as given, with PrimaryHost for a
// postmaster without a domain (RFC 5321 section 2.3.5).
func (s *Session) mailbox(to smtp.Path) string {
	if to.Domain == "" && strings.EqualFold(to.Local, "postmaster") {
		return "postmaster@" + s.settings.PrimaryHost
	}
	return to.String()
}
