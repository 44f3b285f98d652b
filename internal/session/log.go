package session

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
)

// One line for each message and each refused recipient, found by hash, address
// or session id. The client's own mistakes are info, what we owe it is error.
// Escaping what a client controls is the handler's work; message text and
// secrets never come here.

func (s *Session) log(level slog.Level, event string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !s.world.Log.Enabled(ctx, level) {
		return
	}
	all := append(make([]slog.Attr, 0, 14), slog.String("session", s.id))
	if s.spokenFor {
		all = append(all, slog.String("remote", peerName(s.client, "unknown")), slog.String("proxy", peerName(s.socket, "unix")))
	} else {
		all = append(all, slog.String("remote", peerName(s.client, "unix")))
	}
	if s.login != "" {
		all = append(all, slog.String("login", s.login))
	}
	s.world.Log.LogAttrs(ctx, level, event, append(all, attrs...)...)
}

// peerName is an address, or what it means that there is none.
func peerName(peer netip.AddrPort, none string) string {
	if !peer.IsValid() {
		return none
	}
	return peer.String()
}

// logMessage logs what became of a message. The zero Reply is none.
func (s *Session) logMessage(level slog.Level, event string, reply smtp.Reply, more ...slog.Attr) {
	if !s.world.Log.Enabled(context.Background(), level) {
		return
	}
	env, size := &envelope.Envelope{Helo: s.name, TLS: s.tls}, int64(0)
	if s.tx != nil {
		env, size = &s.tx.env, s.tx.size()
	}
	attrs := []slog.Attr{
		slog.String("helo", env.Helo),
		slog.String("from", env.From),
		slog.String("to", join(env.To, func(r envelope.Recipient) string { return r.Address })),
		slog.Int64("size", size),
		slog.String("hash", join(env.To, func(r envelope.Recipient) string { return r.Hash })),
		slog.String("tls", env.TLS),
	}
	if reply.Code != 0 {
		attrs = append(attrs, slog.String("reply", reply.Error()))
	}
	s.log(level, event, append(attrs, more...)...)
}

func join(to []envelope.Recipient, part func(envelope.Recipient) string) string {
	parts := make([]string, len(to))
	for i, r := range to {
		parts[i] = part(r)
	}
	return strings.Join(parts, ",")
}

// logOutcome logs a message that the saver has had.
func (s *Session) logOutcome(reply smtp.Reply, err error) {
	if err == nil {
		s.logMessage(slog.LevelInfo, "message accepted", reply)
		return
	}
	// An outage of the store is an error of its own, logged once.
	if s.world.Repeats.isOutage(err) && !s.world.Repeats.first(slog.LevelWarn, "messages not stored", err.Error()) {
		return
	}
	s.logMessage(slog.LevelWarn, "message not stored", reply, slog.Any("error", err))
}

// refuseMessage logs a message that was refused before the saver saw it.
func (s *Session) refuseMessage(reply smtp.Reply) {
	level := slog.LevelInfo
	if reply == smtp.ReplyOutOfMemory {
		level = slog.LevelWarn
		if !s.world.Repeats.first(level, "messages refused", reply.Error()) {
			return
		}
	}
	s.logMessage(level, "message refused", reply)
}

// refuseMail refuses a sender, and logs it.
func (s *Session) refuseMail(from string, reply smtp.Reply) smtp.Reply {
	s.log(slog.LevelInfo, "message refused",
		slog.String("helo", s.name),
		slog.String("from", from),
		slog.String("reply", reply.Error()),
		slog.String("tls", s.tls))
	return reply
}

func (s *Session) logRcpt(to string, reply smtp.Reply) {
	s.log(slog.LevelInfo, "recipient refused",
		slog.String("helo", s.name),
		slog.String("from", s.tx.env.From),
		slog.String("to", to),
		slog.String("reply", reply.Error()),
		slog.String("tls", s.tls))
}

// logEnd logs the end of a session that we close: of interest where it costs
// the client a message.
func (s *Session) logEnd(reply smtp.Reply) {
	switch {
	case s.tx != nil:
		s.logMessage(slog.LevelInfo, "message refused", reply)
	case reply == smtp.ReplyTooManyErrors:
		s.log(slog.LevelInfo, "session closed", slog.String("reply", reply.Error()))
	default:
		s.log(slog.LevelDebug, "session closed", slog.String("reply", reply.Error()))
	}
}

// logGone logs a connection that ended by itself.
func (s *Session) logGone() {
	switch {
	case s.wish == WishSave, s.wish == WishClose:
	case s.state != inCommand:
		s.logMessage(slog.LevelInfo, "connection lost in a message", smtp.Reply{})
	case !s.spoken:
		s.log(slog.LevelDebug, "connection without a command")
	default:
		s.log(slog.LevelDebug, "connection lost")
	}
}

// logCommand logs a line of the dialogue. What is no command of ours may be a
// secret, or the text of a message that was refused.
func (s *Session) logCommand(line []byte, known bool) {
	text := "(unknown command)"
	if known {
		text = string(line)
	}
	s.log(slog.LevelInfo, "C: "+text)
}

func (s *Session) logRefusedLine() {
	if s.settings.Verbose {
		s.log(slog.LevelInfo, "C: (malformed line)")
	}
}

func (s *Session) logReply(r smtp.Reply) {
	for line := range strings.Lines(string(r.Append(nil))) {
		s.log(slog.LevelInfo, "S: "+strings.TrimRight(line, "\r\n"))
	}
}
