package authhttp

import (
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// The refusals that are not a session's.
var (
	noLogin  = smtp.Reply{Code: 535, Enhanced: smtp.LoginFailed, Text: "Nobody can log in here"}
	onlySMTP = smtp.Reply{Code: 502, Enhanced: smtp.BadSequence, Text: "Only SMTP is served here"}
	notAMail = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "Send MAIL and RCPT"}
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
		return &onlySMTP
	}
	if h.Get("Auth-Method") != "none" {
		return &noLogin
	}
	from, to := h.Get("Auth-Smtp-From"), h.Get("Auth-Smtp-To")
	if from == "" && to == "" {
		return nil
	}
	if !begins(from, "MAIL") || !begins(to, "RCPT") {
		return &notAMail
	}
	client, _ := netip.ParseAddr(h.Get("Client-Ip")) // not valid: on a unix socket
	settings := *s.World.Settings()
	settings.Verbose, settings.Trusted = false, nil
	world := *s.World
	world.Replied = nil
	world.Settings = func() *session.Settings { return &settings }
	ses := session.New(&world, noMemory{}, s.NewID(), netip.AddrPortFrom(client.Unmap().WithZone(""), 0))
	helo := h.Get("Auth-Smtp-Helo")
	ask(ses, "EHLO "+helo[:min(len(helo), maxHelo)])
	for _, line := range []string{from, to} {
		if reply := ask(ses, line); reply.Code != 250 {
			return &reply
		}
	}
	return nil
}

// begins reports whether a command line has this verb.
func begins(line, verb string) bool {
	return len(line) > len(verb) && strings.EqualFold(line[:len(verb)], verb) && line[len(verb)] == ' '
}

// replyLine is the last line of a reply.
var replyLine = regexp.MustCompile(`([0-9]{3}) (?:([245]\.[0-9]{1,3}\.[0-9]{1,3}) )?(.*)\r\n$`)

// ask says one command line, and waits where the session wants a recipient
// checked. A header field cannot hold the end of a line.
func ask(ses *session.Session, line string) smtp.Reply {
	_, out := ses.Feed([]byte(line+"\r\n"), nil)
	if ses.Wish() == session.WishRecipient {
		answer := make(chan *smtp.Reply, 1)
		ses.Check(func(refusal *smtp.Reply) { answer <- refusal })
		out = ses.Checked(<-answer, out)
	}
	m := replyLine.FindStringSubmatch(string(out))
	if m == nil {
		return notAMail
	}
	code, err := strconv.Atoi(m[1])
	if err != nil {
		return notAMail
	}
	return smtp.Reply{Code: code, Enhanced: m[2], Text: m[3]}
}

// noMemory is for a session that comes to no message.
type noMemory struct{}

func (noMemory) Grow(buf []byte, _ int) ([]byte, bool) { return buf, false }
func (noMemory) Release([]byte)                        {}
