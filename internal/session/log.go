package session

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
)

// The log has one line for each message and each refused recipient. The log handler
// escapes text from the client. Message text and secrets are not logged.

func (s *Session) log(level slog.Level, event string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !s.environment.Log.Enabled(ctx, level) {
		return
	}
	all := append(make([]slog.Attr, 0, 14), slog.String("session", s.id))
	if s.clientReported {
		all = append(all, slog.String("remote", addressOr(s.client, "unknown")), slog.String("proxy", addressOr(s.peer, "unix")))
	} else {
		all = append(all, slog.String("remote", addressOr(s.client, "unix")))
	}
	if s.login != "" {
		all = append(all, slog.String("login", s.login))
	}
	s.environment.Log.LogAttrs(ctx, level, event, append(all, attrs...)...)
}

// addressOr returns the address as text, or alternative if it is invalid.
func addressOr(a netip.AddrPort, alternative string) string {
	if !a.IsValid() {
		return alternative
	}
	return a.String()
}

// logMessage logs an event of a message. The zero Reply means that there was no reply.
func (s *Session) logMessage(level slog.Level, event string, reply smtp.Reply, more ...slog.Attr) {
	if !s.environment.Log.Enabled(context.Background(), level) {
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

// logOutcome logs the outcome of a Save.
func (s *Session) logOutcome(reply smtp.Reply, err error) {
	if err == nil {
		s.logMessage(slog.LevelInfo, "message accepted", reply)
		for _, r := range s.tx.env.Refused {
			s.log(slog.LevelInfo, "recipient refused by the receiver",
				slog.String("from", s.tx.env.From), slog.String("to", r.Address), slog.String("hash", r.Hash))
		}
		return
	}
	// The committer logs the outage.
	if s.environment.Repeats.isOutage(err) && !s.environment.Repeats.first(slog.LevelWarn, "messages not stored", err.Error()) {
		return
	}
	s.logMessage(slog.LevelWarn, "message not stored", reply, slog.Any("error", err))
}

// logRefusedMessage logs a message that was refused before its Save.
func (s *Session) logRefusedMessage(reply smtp.Reply) {
	level := slog.LevelInfo
	if reply == smtp.ReplyOutOfMemory {
		level = slog.LevelWarn
		if !s.environment.Repeats.first(level, "messages refused", reply.Error()) {
			return
		}
	}
	s.logMessage(level, "message refused", reply, s.limit(reply)...)
}

// limit returns the limit that a message exceeds, if that is the reason of its refusal.
func (s *Session) limit(reply smtp.Reply) []slog.Attr {
	if reply != smtp.ReplyTooBig {
		return nil
	}
	return []slog.Attr{slog.Int64("limit", s.settings.MaxSize)}
}

// refuseSender logs the refusal of MAIL and returns its reply.
func (s *Session) refuseSender(from string, params smtp.MailParams, reply smtp.Reply) smtp.Reply {
	if reply == smtp.ReplyNoSpace && !s.environment.Repeats.first(slog.LevelWarn, "messages refused", reply.Error()) {
		return reply
	}
	attrs := []slog.Attr{
		slog.String("helo", s.name),
		slog.String("from", from),
		slog.String("reply", reply.Error()),
		slog.String("tls", s.tls),
	}
	if reply == smtp.ReplyTooBig {
		attrs = append(attrs, slog.Int64("declared", params.Size))
	}
	s.log(slog.LevelInfo, "message refused", append(attrs, s.limit(reply)...)...)
	return reply
}

func (s *Session) logRefusedRecipient(to string, reply smtp.Reply) {
	attrs := []slog.Attr{
		slog.String("helo", s.name),
		slog.String("from", s.tx.env.From),
		slog.String("to", to),
		slog.String("reply", reply.Error()),
		slog.String("tls", s.tls),
	}
	if reply == smtp.ReplyRelayingDenied {
		attrs = append(attrs, slog.String("reason", "the domain is not in GM_ALLOWED_HOSTS"))
	}
	s.log(slog.LevelInfo, "recipient refused", attrs...)
}

// logEnd logs that the server ends the session: at level info if a message is lost or
// the client made too many errors.
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

// logAbort logs that the connection was lost.
func (s *Session) logAbort() {
	switch {
	case s.request == RequestSave, s.request == RequestClose:
	case s.state != inCommand:
		s.logMessage(slog.LevelInfo, "connection lost during a message", smtp.Reply{})
	case !s.lineReceived:
		s.log(slog.LevelDebug, "connection without a command")
	default:
		s.log(slog.LevelDebug, "connection lost")
	}
}

// logCommand logs a command line of the dialogue. An unknown command may be a secret,
// or the text of a message that was refused.
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
