package session

import (
	"strconv"
	"unicode/utf8"

	"goguerrillad/internal/smtp"
)

// SessionsKeyword stands in front of the number of our sessions in the reply
// to EHLO. Only trusted proxies see it.
const SessionsKeyword = "X-SESSIONS"

// helo is RFC 5321 section 4.1.1.1. Devices send all kinds of names, and none.
func (s *Session) helo(arg string) smtp.Reply {
	s.meet(arg, false)
	return smtp.ReplyHello(s.settings.HostName)
}

// ehlo is helo with the list of what we can.
func (s *Session) ehlo(arg string) smtp.Reply {
	s.meet(arg, true)
	var b [512]byte
	text := append(b[:0], s.settings.HostName...)
	text = append(text, "\nSIZE "...)
	text = strconv.AppendInt(text, s.settings.MaxSize, 10)
	text = append(text, "\nPIPELINING\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nENHANCEDSTATUSCODES\nLIMITS RCPTMAX="...)
	text = strconv.AppendInt(text, maxRecipients, 10)
	switch {
	case s.secure:
		text = append(text, "\nREQUIRETLS"...)
	case s.settings.StartTLS && s.tls == "":
		text = append(text, "\nSTARTTLS"...)
	}
	if s.mayXClient() {
		text = append(text, "\nXCLIENT "+smtp.XClientNames...)
		if s.world.Sessions != nil {
			text = append(text, "\n"+SessionsKeyword+" "...)
			text = strconv.AppendInt(text, s.world.Sessions(), 10)
		}
	}
	return smtp.ReplyHello(string(text))
}

// meet begins the session anew under a name.
func (s *Session) meet(name string, extended bool) {
	s.reset()
	s.settings = s.world.Settings()
	s.name, s.greeted, s.extended = clip(name), true, extended
}

// clip returns a copy of the first maxName bytes of a name.
func clip(name string) string {
	if len(name) <= maxName {
		return name
	}
	end := maxName
	for end > maxName-utf8.UTFMax && !utf8.RuneStart(name[end]) {
		end--
	}
	return string([]byte(name[:end])) // lets go of the whole line
}
