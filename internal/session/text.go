package session

import "goguerrillad/internal/smtp"

// Space returns the free end of the message's buffer while text is to be
// stored, never empty, and nil at all other times: then the driver reads
// elsewhere and calls Feed. Inside a chunk it ends where the chunk ends.
func (s *Session) Space() []byte {
	if s.wish != WishInput {
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

// Filled takes n bytes, 1 to len(Space()), that were read into Space. It
// returns the bytes behind the end of the text, nil where there are none; they
// lie in a buffer of the session's and are valid until its next call, so the
// driver copies them and feeds them when the wish is answered.
func (s *Session) Filled(n int, out []byte) (rest, _ []byte) {
	s.arrived += int64(n)
	tx := s.tx
	tx.buf = tx.buf[:len(tx.buf)+n]
	if s.state == inChunk {
		tx.text = len(tx.buf)
		tx.chunk -= int64(n)
		return nil, s.answer(out, s.endChunk())
	}
	text, used, end := tx.dot.Next(tx.buf[tx.text:])
	behind := tx.buf[tx.text+used:]
	tx.text += text
	switch {
	case end && tx.size() > s.settings.MaxSize:
		// The buffer goes back before the driver has seen the rest of it.
		rest = append(rest, behind...)
		s.voidText(smtp.ReplyTooBig)
		return rest, s.answer(out, s.endVoid())
	case end:
		s.complete()
		return behind, out
	case tx.size() > s.settings.MaxSize:
		tx.carry = append(tx.carry, behind...)
		s.voidText(smtp.ReplyTooBig)
		return nil, out
	}
	tx.buf = tx.buf[:tx.text+copy(tx.buf[tx.text:], behind)]
	if len(tx.buf) == cap(tx.buf) {
		s.grow(min(growth*cap(tx.buf), s.limit()))
	}
	return nil, out
}

// limit is the capacity beyond which no buffer grows: it shows a message to be
// too big before it is full.
func (s *Session) limit() int { return s.tx.room + int(s.settings.MaxSize) + slack }

// feedText stores text that came with other bytes.
func (s *Session) feedText(in, out []byte) (used int, _ []byte) {
	n := copy(s.Space(), in)
	rest, out := s.Filled(n, out)
	return n - len(rest), out
}

// voidText throws the text away, what came and what comes, and has the verdict
// answered at its end.
func (s *Session) voidText(verdict smtp.Reply) {
	s.tx.fail(s.memory)
	s.state, s.verdict = inVoidText, verdict
}

// voidChunk throws the n bytes of a chunk away that are still to come, and has
// the verdict answered behind them.
func (s *Session) voidChunk(n int64, verdict smtp.Reply) smtp.Reply {
	s.state, s.void, s.verdict = inVoidChunk, n, verdict
	if n == 0 {
		return s.endVoid()
	}
	return smtp.Reply{}
}

// fail gives the message's memory back; the transaction ends with the void.
func (tx *transaction) fail(m Memory) {
	m.Release(tx.buf)
	tx.buf, tx.failed = nil, true
}

// feedVoidText looks for the end of a text that is not stored.
func (s *Session) feedVoidText(in, out []byte) (used int, _ []byte) {
	tx, end := s.tx, false
	if len(tx.carry) == 0 {
		_, used, end = tx.dot.Next(in)
	} else {
		// Some more bytes resolve those that were carried over; what is
		// unresolved after that lies in the input alone.
		n := min(len(in), smtp.MaxUnresolved+1)
		joined := append(tx.carry, in[:n]...)
		_, used, end = tx.dot.Next(joined)
		tx.carry = nil
		if !end && n == len(in) {
			tx.carry = joined[used:]
			used = len(joined)
		}
		used -= len(joined) - n
	}
	s.arrived += int64(used)
	if end {
		out = s.answer(out, s.endVoid())
	}
	return used, out
}

// feedVoidChunk counts the bytes of a chunk that is not stored.
func (s *Session) feedVoidChunk(in, out []byte) (used int, _ []byte) {
	used = int(min(int64(len(in)), s.void))
	s.void -= int64(used)
	s.arrived += int64(used)
	if s.void == 0 {
		out = s.answer(out, s.endVoid())
	}
	return used, out
}

// endVoid gives the verdict on what was thrown away.
func (s *Session) endVoid() smtp.Reply {
	if s.tx != nil && s.tx.failed {
		s.lostChunk = s.tx.chunked && !s.tx.last
		s.refuseMessage(s.verdict)
		s.drop()
	}
	s.state = inCommand
	return s.verdict
}

// startWindow begins to measure the rate of a text anew.
func (s *Session) startWindow() {
	s.since, s.arrived = s.world.Now(), 0
}

// slow reports whether text came at less than minRate since startWindow.
func (s *Session) slow() bool {
	return float64(s.arrived) < minRate*s.world.Now().Sub(s.since).Seconds()
}
