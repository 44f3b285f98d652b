package newmail

import (
	"slices"
	"strings"

	"goguerrillad/internal/envelope"
)

// A Kind is how an INSERT sets a column.
type Kind uint8

// The kinds of columns.
const (
	Text   Kind = iota // by a string in UTF-8
	Bytes              // by a []byte
	Number             // by an int
	Clock              // by the store's clock
	Zero               // to the number 0
)

// kind returns the kind of a column that the daemon knows, and false for any other
// column. The daemon knows the columns of 2012, those of later versions of
// go-guerrilla, and its own. A later column of another type than the daemon's values is
// an operator's.
func (c Column) kind() (Kind, bool) {
	switch strings.ToLower(c.Name) {
	case "date":
		return Clock, true
	case "spam_score":
		return Zero, true
	case "mail":
		return Bytes, true
	case "has_attach":
		return Number, c.Chars != Nothing && !c.isOther()
	case "from", "to", "subject", "body", "charset", "hash", "content_type", "recipient", "ip_addr", "attach_info":
		return Text, true
	case "message_id", "reply_to", "sender", "return_path", "helo", "tls", "login", "proxy":
		return Text, !c.isNumber() && !c.isTime() && !c.isOther()
	case "is_tls", "size":
		return Number, c.Chars != Nothing && !c.isTime() && !c.isOther()
	}
	return 0, false
}

func (c Column) isNumber() bool {
	return c.hasType("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "numeric", "float", "double", "real", "bit", "bool")
}

func (c Column) isTime() bool { return c.hasType("date", "time", "year") }

// isOther reports whether the column's type accepts neither every text nor numbers. An
// enum or a set uses a number as the index of a value.
func (c Column) isOther() bool {
	return c.hasType("enum", "set", "json", "uuid", "inet", "geom", "point", "linestring", "polygon", "multi", "vector", "xmltype")
}

// hasType reports whether the column's type has one of the prefixes.
func (c Column) hasType(prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(c.Type, p) })
}

// text returns the text of a column for all recipients of an envelope.
func text(name string, e *envelope.Envelope) string {
	switch name {
	case "from", "return_path":
		return e.From
	case "subject":
		return e.Info.Subject
	case "charset":
		return e.Info.Charset
	case "content_type":
		return e.Info.ContentType
	case "ip_addr":
		if ip := e.Client(); ip.IsValid() {
			return ip.String()
		}
	case "message_id":
		return e.Info.MessageID
	case "reply_to":
		return e.Info.ReplyTo
	case "sender":
		return e.Info.Sender
	case "helo":
		return e.Helo
	case "tls":
		return e.TLS
	case "login":
		return e.Login
	case "proxy":
		return e.Proxy
	}
	return ""
}

// count returns the number in a column for all recipients of an envelope, before it is
// fitted.
func count(name string, e *envelope.Envelope) int {
	switch {
	case name == "size":
		return e.Size()
	case name == "has_attach" && len(e.Info.Attachments) > 0, name == "is_tls" && e.TLS != "":
		return 1
	}
	return 0
}
