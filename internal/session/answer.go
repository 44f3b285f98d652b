package session

import (
	"errors"

	"goguerrillad/internal/smtp"
)

// say appends a reply.
func (s *Session) say(out []byte, r smtp.Reply) []byte {
	if s.settings.Verbose {
		s.logReply(r)
	}
	if s.world.Replied != nil {
		s.world.Replied(r)
	}
	return r.Append(out)
}

// answer ends a turn with its reply, and the session where its errors or a
// drain ask for that. The zero Reply means that the turn goes on.
func (s *Session) answer(out []byte, r smtp.Reply) []byte {
	if r.Code == 0 {
		return out
	}
	out = s.say(out, r)
	s.turns++
	if isError(r) {
		s.errors++
	}
	if s.wish == WishInput && (s.errors >= maxErrors || s.refused >= maxRefused) {
		return s.hangUp(out, smtp.ReplyTooManyErrors)
	}
	return s.leave(out)
}

// isError reports whether a reply counts towards maxErrors: syntax, order and
// unknown verbs.
func isError(r smtp.Reply) bool {
	switch r.Code {
	case 500, 501, 503, 555:
		return r != smtp.ReplyChunkDiscarded
	}
	return false
}

// hangUp appends the last reply of a session.
func (s *Session) hangUp(out []byte, r smtp.Reply) []byte {
	s.logEnd(r)
	out = s.say(out, r)
	s.close()
	return out
}

// close gives back what the session holds and wishes for the end.
func (s *Session) close() {
	s.drop()
	s.state, s.wish = inCommand, WishClose
}

// Expired says that Settings.Timeout has passed since Turns last moved, or
// since the last Expired that the session survived. It survives while text
// comes fast enough. A wait for room ends as Room(false) does; while a message
// is being saved or a recipient asked for, nothing expires.
func (s *Session) Expired(out []byte) []byte {
	switch {
	case s.wish == WishSave || s.wish == WishRecipient || s.wish == WishClose:
		return out
	case s.wish == WishRoom:
		return s.Room(false, out)
	case s.wish == WishStartTLS: // a shake of hands that takes too long has no reply
		s.close()
		return out
	case s.state != inCommand && !s.slow():
		s.startWindow()
		return out
	}
	return s.hangUp(out, smtp.ReplyTimeout)
}

// Drain says that the server shuts down: the session ends at once when it is
// idle, otherwise after the transaction in flight.
func (s *Session) Drain(out []byte) []byte {
	s.draining = true
	return s.leave(out)
}

// leave ends an idle session that is to drain.
func (s *Session) leave(out []byte) []byte {
	if !s.draining || !s.Idle() {
		return out
	}
	return s.hangUp(out, smtp.ReplyShuttingDown)
}

// Cut ends the session at once, the transaction in flight included, when the
// time of a drain is up. A message that is being saved is answered still.
func (s *Session) Cut(out []byte) []byte {
	s.draining = true
	switch s.wish {
	case WishSave, WishClose:
		return out
	case WishStartTLS:
		s.close()
		return out
	}
	return s.hangUp(out, smtp.ReplyShuttingDown)
}

// Abort says that the connection is gone. The session gives its memory back,
// unless a message is being saved: then Saved does.
func (s *Session) Abort() {
	if s.gone {
		return
	}
	s.gone = true
	s.logGone()
	if s.wish != WishSave {
		s.close()
	}
}

// outcome turns what the saver said into the reply.
func (s *Session) outcome(err error) smtp.Reply {
	if err == nil {
		return smtp.ReplyQueued(s.tx.env.To[0].Hash)
	}
	if r := (smtp.Reply{}); errors.As(err, &r) && r.Code >= 400 {
		return r
	}
	return smtp.ReplyNotStored
}
