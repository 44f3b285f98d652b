package session

import "goguerrillad/internal/smtp"

// end appends the last reply of the session and requests the end of the connection.
func (s *Session) end(out []byte, r smtp.Reply) []byte {
	s.logEnd(r)
	out = s.appendReply(out, r)
	s.requestClose()
	return out
}

// requestClose ends the transaction and requests the end of the connection.
func (s *Session) requestClose() {
	s.endTransaction()
	s.state, s.request = inCommand, RequestClose
}

// Expired handles a timeout. The driver calls it when Settings.Timeout has passed since
// Progress last changed, or since the last Expired that did not end the session. The
// session continues while its text arrives at minRate or faster, its message is being
// saved, or its recipient is being checked. A wait for memory ends as after
// MemoryAvailable(false).
func (s *Session) Expired(out []byte) []byte {
	switch {
	case s.request == RequestSave || s.request == RequestRecipient || s.request == RequestClose:
		return out
	case s.request == RequestMemory:
		return s.MemoryAvailable(false, out)
	case s.request == RequestStartTLS: // no reply can be sent during a handshake
		s.requestClose()
		return out
	case s.state != inCommand && !s.tooSlow():
		s.startWindow()
		return out
	}
	return s.end(out, smtp.ReplyTimeout)
}

// Drain ends the session when it is idle: immediately, or after its transaction.
func (s *Session) Drain(out []byte) []byte {
	s.draining = true
	return s.endIfDrained(out)
}

// endIfDrained ends the session if it is idle and draining.
func (s *Session) endIfDrained(out []byte) []byte {
	if !s.draining || !s.Idle() {
		return out
	}
	return s.end(out, smtp.ReplyShuttingDown)
}

// Terminate ends the session immediately, even during a transaction. Only a message
// that is being saved still receives its reply.
func (s *Session) Terminate(out []byte) []byte {
	s.draining = true
	switch s.request {
	case RequestSave, RequestClose:
		return out
	case RequestStartTLS:
		s.requestClose()
		return out
	}
	return s.end(out, smtp.ReplyShuttingDown)
}

// Abort ends the session without a reply. The driver calls it when the connection is
// lost. Abort releases the session's memory, unless the message is being saved; then
// Saved releases it.
func (s *Session) Abort() {
	if s.aborted {
		return
	}
	s.aborted = true
	s.logAbort()
	if s.request != RequestSave {
		s.requestClose()
	}
}
