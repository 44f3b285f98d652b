package session

import "goguerrillad/internal/smtp"

// bdat is RFC 3030 section 2. The chunk follows its command in any case, so it
// is consumed, and then answered, even where it cannot be used.
func (s *Session) bdat(arg string) smtp.Reply {
	size, last, refusal := smtp.ParseBdat(arg)
	if refusal != nil {
		return *refusal
	}
	s.startWindow()
	tx := s.tx
	switch {
	case tx == nil && s.lostChunk:
		s.lostChunk = !last
		return s.voidChunk(size, smtp.ReplyChunkDiscarded)
	case tx == nil:
		return s.voidChunk(size, smtp.ReplyMailFirst)
	case tx.granted == 0:
		return s.voidChunk(size, s.noRecipient())
	}

	if !tx.chunked {
		s.prepare()
	}
	tx.chunked, tx.chunk, tx.last = true, size, last
	if size > s.settings.MaxSize-tx.size() {
		tx.fail(s.memory)
		return s.voidChunk(size, smtp.ReplyTooBig)
	}
	s.state = inChunk
	if n := s.chunkRoom(); n > cap(tx.buf) && !s.grow(n) {
		return smtp.Reply{}
	}
	return s.endChunk()
}

// chunkRoom returns the capacity that the current chunk needs: the first takes
// what MAIL declared, later ones grow the buffer by a factor where more may
// follow, so that many small chunks are not copied over and over.
func (s *Session) chunkRoom() int {
	tx := s.tx
	need := tx.text + int(tx.chunk)
	wanted := need
	switch {
	case tx.buf == nil:
		wanted = tx.room + max(0, int(tx.params.Size))
	case need > cap(tx.buf) && !tx.last:
		wanted = growth * cap(tx.buf)
	}
	return max(need, min(wanted, s.limit()))
}

// endChunk answers a chunk that is complete.
func (s *Session) endChunk() smtp.Reply {
	switch {
	case s.tx.chunk > 0:
		return smtp.Reply{}
	case s.tx.last:
		s.complete()
		return smtp.Reply{}
	}
	s.state = inCommand
	return smtp.ReplyChunkOK
}
