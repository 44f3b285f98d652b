package authhttp

import (
	"net/http"
	"net/netip"
	"strings"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// maxHelo bounds what is taken of the name that a client gave, in bytes; the
// session keeps less.
const maxHelo = 512

// judge asks a session that nobody sees what it makes of the client's first
// commands, so that a refusal here is the one that the SMTP server gives. What
// nginx says of the client's name is not looked at: whoever owns the address
// chooses it.
func (s *Server) judge(h http.Header) *smtp.Reply {
	if p := h.Get("Auth-Protocol"); p != "" && p != "smtp" {
		return &smtp.ReplyOnlySMTP
	}
	if h.Get("Auth-Method") != "none" {
		return &smtp.ReplyNoLogin
	}
	from, to := h.Get("Auth-Smtp-From"), h.Get("Auth-Smtp-To")
	if from == "" && to == "" {
		return nil
	}
	if !begins(from, "MAIL") || !begins(to, "RCPT") {
		return &smtp.ReplyMailAndRcpt
	}
	client, _ := netip.ParseAddr(h.Get("Client-Ip")) // not valid: on a unix socket
	settings := *s.World.Settings()
	settings.Verbose, settings.Trusted = false, nil
	world := *s.World
	reply := smtp.ReplyMailAndRcpt // of the last command
	world.Replied = func(r smtp.Reply) { reply = r }
	world.Settings = func() *session.Settings { return &settings }
	ses := session.New(&world, noMemory{}, s.NewID(), netip.AddrPortFrom(client.Unmap().WithZone(""), 0))
	helo := h.Get("Auth-Smtp-Helo")
	ask(ses, "EHLO "+helo[:min(len(helo), maxHelo)])
	for _, line := range []string{from, to} {
		if ask(ses, line); reply.Code != 250 {
			return &reply
		}
	}
	return nil
}

// begins reports whether a command line has this verb.
func begins(line, verb string) bool {
	return len(line) > len(verb) && strings.EqualFold(line[:len(verb)], verb) && line[len(verb)] == ' '
}

// ask feeds one command line to the session, and waits for the recipient query
// if the session requests it. A header field cannot contain the end of a line.
func ask(ses *session.Session, line string) {
	_, out := ses.Feed([]byte(line+"\r\n"), nil)
	if ses.Wish() == session.WishRecipient {
		answer := make(chan *smtp.Reply, 1)
		ses.Check(func(refusal *smtp.Reply) { answer <- refusal })
		ses.Checked(<-answer, out)
	}
}

// noMemory is for a session that comes to no message.
type noMemory struct{}

func (noMemory) Grow(buf []byte, _ int) ([]byte, bool) { return buf, false }
func (noMemory) Release([]byte)                        {}
