package session

import (
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
)

// A transaction lasts from MAIL to the outcome of the message.
type transaction struct {
	env      envelope.Envelope
	params   smtp.MailParams
	accepted int // recipients with reply 250, including repeated recipients

	buf        []byte         // head room, text, and bytes that dot has not resolved yet
	headRoom   int            // bytes of buf for the added header lines
	text       int            // end of the text in buf
	capacity   int            // in RequestMemory: the requested capacity of buf
	dot        smtp.DotReader // finds the end of the text after DATA
	unresolved []byte         // in state inDiscardedText: consumed bytes that dot has not resolved yet

	chunk     int64 // bytes of the chunk that have not arrived yet
	chunked   bool  // the client has sent BDAT
	last      bool  // the chunk is the last
	discarded bool  // the message is refused, and the rest of its text is discarded
	skipped   int64 // bytes of the discarded rest

	candidate string // in RequestRecipient: the recipient

	refused  bool // a recipient was refused permanently
	deferred bool // a recipient was refused temporarily
	tooMany  bool // a recipient beyond maxRecipients was refused
}

// size returns the number of bytes of the message that have arrived.
func (tx *transaction) size() int64 { return int64(tx.text-tx.headRoom) + tx.skipped }

// prepareMessage assigns the hashes and reserves room for the added header lines, whose
// content is known now.
func (s *Session) prepareMessage() {
	for i := range s.tx.env.To {
		s.tx.env.To[i].Hash = s.environment.NewHash()
	}
	s.tx.headRoom = s.tx.env.HeadRoom()
	s.tx.text = s.tx.headRoom
}

// growBuffer grows the buffer to capacity n, or requests the memory and returns false.
func (s *Session) growBuffer(n int) bool {
	tx := s.tx
	filled := max(len(tx.buf), tx.headRoom)
	buf, ok := s.memory.Grow(tx.buf, n)
	if !ok {
		tx.capacity, s.request = n, RequestMemory
		return false
	}
	tx.buf = buf[:filled]
	return true
}

// MemoryAvailable completes RequestMemory. If ok is true, the session tries again to
// allocate, and may request memory again. If ok is false, it refuses the message.
func (s *Session) MemoryAvailable(ok bool, out []byte) []byte {
	if s.request != RequestMemory {
		return out
	}
	s.request = RequestInput
	if !ok {
		return s.refuseForMemory(out)
	}
	if !s.growBuffer(s.tx.capacity) {
		return out
	}
	s.progress++
	s.startWindow()
	switch s.state {
	case inCommand:
		s.state = inText
		return s.finishCommand(out, smtp.ReplySendData)
	case inChunk:
		return s.finishCommand(out, s.endChunk())
	}
	return out
}

// refuseForMemory refuses the message for lack of memory: immediately if its text has
// not begun, otherwise at the end of the text.
func (s *Session) refuseForMemory(out []byte) []byte {
	switch s.state {
	case inText:
		s.tx.unresolved = append(s.tx.unresolved, s.tx.buf[s.tx.text:]...)
		s.discardText(smtp.ReplyOutOfMemory)
		return out
	case inChunk:
		s.tx.discard(s.memory)
		return s.finishCommand(out, s.discardChunk(s.tx.chunk, smtp.ReplyOutOfMemory))
	}
	s.logRefusedMessage(smtp.ReplyOutOfMemory)
	s.endTransaction()
	return s.finishCommand(out, smtp.ReplyOutOfMemory)
}

// Envelope returns the message of RequestSave, or nil after any other request.
func (s *Session) Envelope() *envelope.Envelope {
	if s.request != RequestSave {
		return nil
	}
	return &s.tx.env
}

// requestSave requests the Save of a complete message.
func (s *Session) requestSave() {
	tx := s.tx
	tx.env.Date = s.environment.Now()
	tx.env.SetMessage(tx.buf[:tx.text], tx.headRoom)
	s.state, s.request = inCommand, RequestSave
	s.progress++
}

// Saved completes RequestSave with the outcome: nil if the message is durable. If the
// error is or wraps an smtp.Reply with a code of 400 or more, the session replies with
// it. The reply to any other error is 451, and only the log contains its text. After
// Abort, Saved appends nothing.
func (s *Session) Saved(err error, out []byte) []byte {
	if s.request != RequestSave {
		return out
	}
	reply := s.outcomeReply(err)
	s.logOutcome(reply, err)
	s.endTransaction()
	if s.aborted {
		s.request = RequestClose
		return out
	}
	s.request = RequestInput
	return s.finishCommand(out, reply)
}

// endTransaction ends the transaction and releases its memory.
func (s *Session) endTransaction() {
	if s.tx != nil {
		s.memory.Release(s.tx.buf)
		s.tx = nil
	}
}
