package session

import (
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
)

// A transaction is what stands between MAIL and the outcome of the message.
type transaction struct {
	env     envelope.Envelope
	params  smtp.MailParams
	granted int // recipients answered 250, repeated ones included

	buf   []byte         // room, text, then bytes that dot has not resolved yet
	room  int            // bytes of buf for the added header lines
	text  int            // end of the text in buf
	need  int            // WishRoom: the capacity that buf is to have
	dot   smtp.DotReader // finds the end of the text behind DATA
	carry []byte         // inVoidText: bytes that dot has not resolved yet, when the driver has not kept them

	chunk   int64 // bytes of the chunk that are still to come
	chunked bool  // a BDAT came
	last    bool  // the chunk is the last
	failed  bool  // the rest of the message is thrown away

	candidate string // WishRecipient: who is asked for

	refused  bool // a recipient was refused for good
	deferred bool // a recipient was refused for the time being
	overfull bool // a recipient beyond maxRecipients was refused
}

// size is the number of bytes of the message that were stored.
func (tx *transaction) size() int64 { return int64(tx.text - tx.room) }

// prepare makes the message's identity final: what the added header lines are
// made of is known now, and their room.
func (s *Session) prepare() {
	for i := range s.tx.env.To {
		s.tx.env.To[i].Hash = s.world.NewHash()
	}
	s.tx.room = s.tx.env.HeadRoom()
	s.tx.text = s.tx.room
}

// grow asks for a buffer of n bytes, or wishes for the room.
func (s *Session) grow(n int) bool {
	tx := s.tx
	filled := max(len(tx.buf), tx.room)
	buf, ok := s.memory.Grow(tx.buf, n)
	if !ok {
		tx.need, s.wish = n, WishRoom
		return false
	}
	tx.buf = buf[:filled]
	return true
}

// Room answers WishRoom: room may be had now, or time is up.
func (s *Session) Room(ok bool, out []byte) []byte {
	if s.wish != WishRoom {
		return out
	}
	s.wish = WishInput
	if !ok {
		return s.noRoom(out)
	}
	if !s.grow(s.tx.need) {
		return out
	}
	s.turns++
	s.startWindow()
	switch s.state {
	case inCommand:
		s.state = inText
		return s.answer(out, smtp.ReplySendData)
	case inChunk:
		return s.answer(out, s.endChunk())
	}
	return out
}

// noRoom refuses the message for want of memory, at once where its text has
// not begun, otherwise at its real end.
func (s *Session) noRoom(out []byte) []byte {
	switch s.state {
	case inText:
		s.tx.carry = append(s.tx.carry, s.tx.buf[s.tx.text:]...)
		s.voidText(smtp.ReplyOutOfMemory)
		return out
	case inChunk:
		s.tx.fail(s.memory)
		return s.answer(out, s.voidChunk(s.tx.chunk, smtp.ReplyOutOfMemory))
	}
	s.refuseMessage(smtp.ReplyOutOfMemory)
	s.drop()
	return s.answer(out, smtp.ReplyOutOfMemory)
}

// Envelope returns the message to be committed, while the wish is WishSave.
func (s *Session) Envelope() *envelope.Envelope {
	if s.wish != WishSave {
		return nil
	}
	return &s.tx.env
}

// complete hands the whole message over.
func (s *Session) complete() {
	tx := s.tx
	tx.env.Date = s.world.Now()
	tx.env.SetMessage(tx.buf[:tx.text], tx.room)
	s.state, s.wish = inCommand, WishSave
	s.turns++
}

// Saved answers WishSave with the outcome: nil when the message is durable. An
// error that is or wraps a smtp.Reply of 400 or more is answered by that, any
// other by 451, its text going to the log alone. After Abort nothing is
// appended.
func (s *Session) Saved(err error, out []byte) []byte {
	if s.wish != WishSave {
		return out
	}
	reply := s.outcome(err)
	s.logOutcome(reply, err)
	s.drop()
	if s.gone {
		s.wish = WishClose
		return out
	}
	s.wish = WishInput
	return s.answer(out, reply)
}

// drop ends the transaction, whatever became of it.
func (s *Session) drop() {
	if s.tx != nil {
		s.memory.Release(s.tx.buf)
		s.tx = nil
	}
}
