package authhttp

import (
	"net/http"
	"net/netip"
	"strings"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// maxHelo is the maximum length in bytes of the client's EHLO name; the session
// keeps less.
const maxHelo = 512

// trySession runs the client's first commands in a session without a connection,
// and returns the refusal that the SMTP server would send, or nil. It ignores the
// client's host name that nginx reports, since the owner of the address chooses
// that name.
func (s *Server) trySession(h http.Header) *smtp.Reply {
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
	if !hasVerb(from, "MAIL") || !hasVerb(to, "RCPT") {
		return &smtp.ReplyMailAndRcpt
	}
	client, _ := netip.ParseAddr(h.Get("Client-Ip")) // not valid for a client on a unix socket
	settings := *s.Environment.Settings()
	settings.Verbose, settings.Trusted = false, nil
	environment := *s.Environment
	reply := smtp.ReplyMailAndRcpt // of the last command
	environment.Replied = func(r smtp.Reply) { reply = r }
	environment.Settings = func() *session.Settings { return &settings }
	ses := session.New(&environment, noMemory{}, s.NewID(), netip.AddrPortFrom(client.Unmap().WithZone(""), 0))
	helo := h.Get("Auth-Smtp-Helo")
	runCommand(ses, "EHLO "+helo[:min(len(helo), maxHelo)])
	for _, line := range []string{from, to} {
		if runCommand(ses, line); reply.Code != 250 {
			return &reply
		}
	}
	return nil
}

// hasVerb reports whether a command line begins with verb and a blank.
func hasVerb(line, verb string) bool {
	return len(line) > len(verb) && strings.EqualFold(line[:len(verb)], verb) && line[len(verb)] == ' '
}

// runCommand feeds one command line to the session, and waits for the recipient
// query if the session requests it. A header field cannot contain the end of a
// line.
func runCommand(ses *session.Session, line string) {
	_, out := ses.Feed([]byte(line+"\r\n"), nil)
	if ses.Request() == session.RequestRecipient {
		answer := make(chan *smtp.Reply, 1)
		ses.Check(func(refusal *smtp.Reply) { answer <- refusal })
		ses.Checked(<-answer, out)
	}
}

// noMemory is the session.Memory of a session that receives no message.
type noMemory struct{}

func (noMemory) Grow(buf []byte, _ int) ([]byte, bool) { return buf, false }
func (noMemory) Release([]byte)                        {}
