package session

import (
	"strconv"
	"unicode/utf8"

	"goguerrillad/internal/smtp"
)

// SessionsKeyword precedes the number of sessions in the reply to EHLO. Only trusted
// peers receive it.
const SessionsKeyword = "X-SESSIONS"

// helo is RFC 5321 section 4.1.1.1. It accepts any name and a missing name, since some
// devices send a malformed name or none.
func (s *Session) helo(arg string) smtp.Reply {
	s.hello(arg, false)
	return smtp.ReplyHello(s.settings.HostName)
}

// ehlo is helo with the list of the extensions.
func (s *Session) ehlo(arg string) smtp.Reply {
	s.hello(arg, true)
	var b [512]byte
	text := append(b[:0], s.settings.HostName...)
	text = append(text, "\nSIZE "...)
	text = strconv.AppendInt(text, s.settings.MaxSize, 10)
	text = append(text, "\nPIPELINING\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nENHANCEDSTATUSCODES\nLIMITS RCPTMAX="...)
	text = strconv.AppendInt(text, maxRecipients, 10)
	switch {
	case s.inTLS:
		text = append(text, "\nREQUIRETLS"...)
	case s.settings.StartTLS && s.tls == "":
		text = append(text, "\nSTARTTLS"...)
	}
	if s.mayXClient() {
		text = append(text, "\nXCLIENT "+smtp.XClientNames...)
		if s.environment.Sessions != nil {
			text = append(text, "\n"+SessionsKeyword+" "...)
			text = strconv.AppendInt(text, s.environment.Sessions(), 10)
		}
	}
	return smtp.ReplyHello(string(text))
}

// hello resets the session and sets the client's name.
func (s *Session) hello(name string, extended bool) {
	s.reset()
	s.settings = s.environment.Settings()
	s.name, s.helloReceived, s.extended = truncate(name), true, extended
}

// truncate returns at most maxName bytes of a name, cut at a character.
func truncate(name string) string {
	if len(name) <= maxName {
		return name
	}
	end := maxName
	for end > maxName-utf8.UTFMax && !utf8.RuneStart(name[end]) {
		end--
	}
	return string([]byte(name[:end])) // a copy, which does not keep the whole line in memory
}
