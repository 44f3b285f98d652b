package session

import "goguerrillad/internal/smtp"

// data is RFC 5321 section 4.1.1.4. It reserves memory for the declared size before it
// replies 354.
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
	case tx.accepted == 0:
		return s.noRecipient()
	}

	s.prepareMessage()
	n := firstBuffer
	if tx.params.Size > 0 {
		n = tx.headRoom + int(tx.params.Size) + slack
	}
	if !s.growBuffer(min(n, s.maxBuffer())) {
		return smtp.Reply{}
	}
	s.state = inText
	s.startWindow()
	return smtp.ReplySendData
}

// noRecipient returns the refusal of a message without an accepted recipient (RFC 5321
// section 3.3). It is temporary if the refusal of one recipient was temporary, since the
// client may have sent DATA before it read the replies to RCPT.
func (s *Session) noRecipient() smtp.Reply {
	switch {
	case s.tx.deferred:
		return smtp.ReplyNoRecipientYet
	case s.tx.refused:
		return smtp.ReplyNoValidRecipients
	}
	return smtp.ReplyRcptFirst
}
