package session

import "goguerrillad/internal/smtp"

// bdat is RFC 3030 section 2. The chunk follows its command even if the session cannot
// use it, so the chunk is always consumed before the reply.
func (s *Session) bdat(arg string) smtp.Reply {
	size, last, refusal := smtp.ParseBdat(arg)
	if refusal != nil {
		return *refusal
	}
	s.startWindow()
	tx := s.tx
	switch {
	case tx == nil && s.chunkFailed:
		s.chunkFailed = !last
		return s.discardChunk(size, smtp.ReplyChunkDiscarded)
	case tx == nil:
		return s.discardChunk(size, smtp.ReplyMailFirst)
	case tx.accepted == 0:
		return s.discardChunk(size, s.noRecipient())
	}

	if !tx.chunked {
		s.prepareMessage()
	}
	tx.chunked, tx.chunk, tx.last = true, size, last
	if size > s.settings.MaxSize-tx.size() {
		tx.discard(s.memory)
		return s.discardChunk(size, smtp.ReplyTooBig)
	}
	s.state = inChunk
	if n := s.chunkBuffer(); n > cap(tx.buf) && !s.growBuffer(n) {
		return smtp.Reply{}
	}
	return s.endChunk()
}

// chunkBuffer returns the capacity of the buffer for the current chunk. The first chunk
// reserves the size that MAIL declared. Later chunks grow the buffer by a factor unless
// they are the last, so many small chunks cause few copies.
func (s *Session) chunkBuffer() int {
	tx := s.tx
	need := tx.text + int(tx.chunk)
	capacity := need
	switch {
	case tx.buf == nil:
		capacity = tx.headRoom + max(0, int(tx.params.Size))
	case need > cap(tx.buf) && !tx.last:
		capacity = growthFactor * cap(tx.buf)
	}
	return max(need, min(capacity, s.maxBuffer()))
}

// endChunk returns the reply to a complete chunk, or the zero Reply.
func (s *Session) endChunk() smtp.Reply {
	switch {
	case s.tx.chunk > 0:
		return smtp.Reply{}
	case s.tx.last:
		s.requestSave()
		return smtp.Reply{}
	}
	s.state = inCommand
	return smtp.ReplyChunkOK
}
