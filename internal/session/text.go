package session

import "goguerrillad/internal/smtp"

// Space returns the free end of the message's buffer, which is never empty, while the
// session stores text. It returns nil if the driver should call Feed instead. Inside a
// chunk, Space ends where the chunk ends.
func (s *Session) Space() []byte {
	if s.request != RequestInput {
		return nil
	}
	switch s.state {
	case inText:
		return s.tx.buf[len(s.tx.buf):cap(s.tx.buf)]
	case inChunk:
		free := s.tx.buf[len(s.tx.buf):cap(s.tx.buf)]
		return free[:min(int64(len(free)), s.tx.chunk)]
	}
	return nil
}

// Filled consumes n bytes, 1 to len(Space()), that were read into Space. rest has the
// bytes after the end of the text, nil if there are none. It is valid until the next call
// of the session: the driver must copy it before that, and feed it later.
func (s *Session) Filled(n int, out []byte) (rest, _ []byte) {
	s.windowBytes += int64(n)
	tx := s.tx
	tx.buf = tx.buf[:len(tx.buf)+n]
	if s.state == inChunk {
		tx.text = len(tx.buf)
		tx.chunk -= int64(n)
		return nil, s.finishCommand(out, s.endChunk())
	}
	text, used, end := tx.dot.Next(tx.buf[tx.text:])
	unused := tx.buf[tx.text+used:]
	tx.text += text
	switch {
	case end && tx.size() > s.settings.MaxSize:
		rest = append(rest, unused...) // a copy, since discardText releases the buffer
		s.discardText(smtp.ReplyTooBig)
		return rest, s.finishCommand(out, s.endDiscard())
	case end:
		s.requestSave()
		return unused, out
	case tx.size() > s.settings.MaxSize:
		tx.unresolved = append(tx.unresolved, unused...)
		s.discardText(smtp.ReplyTooBig)
		return nil, out
	}
	tx.buf = tx.buf[:tx.text+copy(tx.buf[tx.text:], unused)]
	if len(tx.buf) == cap(tx.buf) {
		s.growBuffer(min(growthFactor*cap(tx.buf), s.maxBuffer()))
	}
	return nil, out
}

// maxBuffer returns the maximum capacity of the buffer. A message exceeds MaxSize before
// it fills such a buffer.
func (s *Session) maxBuffer() int { return s.tx.headRoom + int(s.settings.MaxSize) + slack }

// feedText stores text that the driver has not read into Space.
func (s *Session) feedText(in, out []byte) (used int, _ []byte) {
	n := copy(s.Space(), in)
	rest, out := s.Filled(n, out)
	return n - len(rest), out
}

// discardText discards the message and the rest of its text. The reply follows at the
// end of the text.
func (s *Session) discardText(reply smtp.Reply) {
	s.tx.discard(s.memory)
	s.state, s.discardReply = inDiscardedText, reply
}

// discardChunk discards the next n bytes, which belong to a chunk. The reply follows
// after them.
func (s *Session) discardChunk(n int64, reply smtp.Reply) smtp.Reply {
	s.state, s.discardBytes, s.discardReply = inDiscardedChunk, n, reply
	if n == 0 {
		return s.endDiscard()
	}
	return smtp.Reply{}
}

// discard releases the message's memory. The transaction ends in endDiscard.
func (tx *transaction) discard(m Memory) {
	m.Release(tx.buf)
	tx.buf, tx.discarded = nil, true
}

// feedDiscardedText consumes a text that is discarded, up to its end.
func (s *Session) feedDiscardedText(in, out []byte) (used int, _ []byte) {
	tx, text, end := s.tx, 0, false
	if len(tx.unresolved) == 0 {
		text, used, end = tx.dot.Next(in)
	} else {
		// MaxUnresolved+1 bytes of input resolve tx.unresolved. After them, only
		// bytes of the input can be unresolved.
		n := min(len(in), smtp.MaxUnresolved+1)
		joined := append(tx.unresolved, in[:n]...)
		text, used, end = tx.dot.Next(joined)
		tx.unresolved = nil
		if !end && n == len(in) {
			tx.unresolved = joined[used:]
			used = len(joined)
		}
		used -= len(joined) - n
	}
	tx.skipped += int64(text)
	s.windowBytes += int64(used)
	if end {
		out = s.finishCommand(out, s.endDiscard())
	}
	return used, out
}

// feedDiscardedChunk discards bytes of a chunk.
func (s *Session) feedDiscardedChunk(in, out []byte) (used int, _ []byte) {
	used = int(min(int64(len(in)), s.discardBytes))
	s.discardBytes -= int64(used)
	s.windowBytes += int64(used)
	if s.tx != nil {
		s.tx.skipped += int64(used)
	}
	if s.discardBytes == 0 {
		out = s.finishCommand(out, s.endDiscard())
	}
	return used, out
}

// endDiscard returns the reply to a text or chunk that was discarded.
func (s *Session) endDiscard() smtp.Reply {
	if s.tx != nil && s.tx.discarded {
		s.chunkFailed = s.tx.chunked && !s.tx.last
		s.logRefusedMessage(s.discardReply)
		s.endTransaction()
	}
	s.state = inCommand
	return s.discardReply
}

// startWindow restarts the measurement of the rate of a text.
func (s *Session) startWindow() {
	s.windowStart, s.windowBytes = s.environment.Now(), 0
}

// tooSlow reports whether the rate since startWindow is less than minRate.
func (s *Session) tooSlow() bool {
	return float64(s.windowBytes) < minRate*s.environment.Now().Sub(s.windowStart).Seconds()
}
