package session

import "goguerrillad/internal/smtp"

// data is RFC 5321 section 4.1.1.4: memory for the declared size is taken
// first, so that 354 is a promise.
func (s *Session) data(arg string) smtp.Reply {
	tx := s.tx
	switch {
	case arg != "":
		return smtp.ReplyNoArgument
	case tx == nil:
		return smtp.ReplyMailFirst
	case tx.chunked:
		return smtp.ReplyDataAfterChunk
	case tx.params.Body == smtp.BodyBinaryMIME: // RFC 3030 section 3
		return smtp.ReplyBinaryData
	case tx.granted == 0:
		return s.noRecipient()
	}

	s.prepare()
	n := firstRoom
	if tx.params.Size > 0 {
		n = tx.room + int(tx.params.Size) + slack
	}
	if !s.grow(min(n, s.limit())) {
		return smtp.Reply{}
	}
	s.state = inText
	s.startWindow()
	return smtp.ReplySendData
}

// noRecipient tells a client that named none from one whose recipients were
// all refused (RFC 5321 section 3.3). Where one of them may be tried again the
// message is not refused for good, whatever the client makes of the replies to
// RCPT: it may have sent DATA before it read them.
func (s *Session) noRecipient() smtp.Reply {
	switch {
	case s.tx.deferred:
		return smtp.ReplyNoRecipientYet
	case s.tx.refused:
		return smtp.ReplyNoValidRecipients
	}
	return smtp.ReplyRcptFirst
}
