// Package newmail makes the rows of the table new_mail. It fits the values of an
// envelope to the length and the character set of the columns.
package newmail

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"goguerrillad/internal/smtp"
)

// A Column is one column of a table.
type Column struct {
	Name     string
	Type     string   // in SQL, in lower case without blanks, such as varbinary(16)
	Chars    int64    // maximum length in characters, 0 = no limit, Nothing = only the empty text
	Bytes    int64    // maximum length in bytes, 0 = no limit, Nothing = only the empty text
	Max      int64    // largest number, 0 = no limit, Nothing = only 0
	Charset  *Charset // nil for a column of bytes or of UTF-8
	Required bool     // it is NOT NULL and has no default
}

// Nothing is the capacity of a column such as char(0).
const Nothing = -1

// hashSize is the length of a hash in characters.
const hashSize = 32

// Columns are the columns of a table. They are immutable.
type Columns struct {
	all                       []Column
	filled                    []filled
	to, recipient, mail, body *filled // nil if the table lacks the column

	zlib    string // value of body for a compressed message, "" if the table cannot hold one
	inRedis bool   // body can say that the message is in Redis
}

// A filled column is one that the daemon fills.
type filled struct {
	Target
	fit
	key    string // the name in lower case
	packed bool   // it is ip_addr and holds the bytes of the address
}

// A Target is a column in an INSERT.
type Target struct {
	Name    string // as in the table
	Kind    Kind
	Charset string // name of its character set in SQL, "" for a column of bytes or of UTF-8
}

// ErrColumns means that the daemon cannot use the columns of a table.
var ErrColumns = errors.New("unsuitable columns")

// NewColumns returns the columns of a table. The error wraps ErrColumns and names the
// columns that the daemon needs and the table lacks.
func NewColumns(all []Column) (*Columns, error) {
	c := &Columns{all: all}
	for _, col := range all {
		kind, known := col.kind()
		if !known {
			continue
		}
		key := strings.ToLower(col.Name)
		f := filled{Target: Target{Name: col.Name, Kind: kind}, key: key, fit: fit{charset: col.Charset, chars: col.Chars, bytes: col.Bytes, max: col.Max}}
		if col.Charset != nil && col.Charset.width > 0 {
			f.Charset = col.Charset.name
		}
		switch {
		case key == "ip_addr" && col.hasType("varbinary(16)"):
			f.Kind, f.packed = Bytes, true
		case key == "mail" && !col.Charset.storesBytes():
			f.Kind = Text
		}
		c.filled = append(c.filled, f)
	}
	c.to, c.recipient, c.mail, c.body = c.find("to"), c.find("recipient"), c.find("mail"), c.find("body")
	var missing []string
	for _, name := range []string{"mail", "hash"} {
		if c.find(name) == nil {
			missing = append(missing, name)
		}
	}
	if c.to == nil && c.recipient == nil {
		missing = append(missing, "to or recipient")
	}
	if missing != nil {
		return nil, columnsError("the table lacks the columns " + strings.Join(missing, ", "))
	}
	hash := all[slices.IndexFunc(all, func(col Column) bool { return strings.EqualFold(col.Name, "hash") })]
	if c.find("hash").over(hashSize, hashSize) || hash.isNumber() || hash.isTime() || hash.isOther() {
		return nil, columnsError(fmt.Sprintf("the column hash cannot hold %d characters", hashSize))
	}
	c.inRedis = c.bodyHolds(BodyRedis)
	if name := c.zlibName(); c.mail.Kind == Bytes && c.bodyHolds(name) {
		c.zlib = name
	}
	return c, nil
}

// A columnsError is an ErrColumns with its own text.
type columnsError string

func (e columnsError) Error() string        { return string(e) }
func (e columnsError) Is(target error) bool { return target == ErrColumns }

// find returns a column that the daemon fills, or nil.
func (c *Columns) find(key string) *filled {
	if i := slices.IndexFunc(c.filled, func(f filled) bool { return f.key == key }); i >= 0 {
		return &c.filled[i]
	}
	return nil
}

// Targets returns the columns that an INSERT sets, in the order of the table. The
// other columns keep their defaults.
func (c *Columns) Targets() []Target {
	targets := make([]Target, len(c.filled))
	for i, f := range c.filled {
		targets[i] = f.Target
	}
	return targets
}

// Unfilled returns the names of the columns that need a value and that the daemon does
// not fill.
func (c *Columns) Unfilled() (names []string) {
	for _, col := range c.all {
		if _, known := col.kind(); col.Required && !known {
			names = append(names, col.Name)
		}
	}
	return names
}

// Equal reports whether two tables have the same columns.
func (c *Columns) Equal(other *Columns) bool {
	if c == nil || other == nil {
		return c == other
	}
	return slices.EqualFunc(c.all, other.all, func(a, b Column) bool {
		same := a.Charset.equal(b.Charset)
		a.Charset, b.Charset = nil, nil
		return same && a == b
	})
}

// Printable returns the columns with their character sets reduced to printable
// ASCII. The columns of the recipient, the client and the message do not change.
func (c *Columns) Printable() *Columns {
	p := *c
	p.filled = slices.Clone(c.filled)
	for i := range p.filled {
		switch f := &p.filled[i]; f.key {
		case "to", "recipient", "hash", "body", "ip_addr", "mail":
		default:
			f.charset = f.charset.printable()
		}
	}
	return &p
}

// bodyHolds reports whether the column body can hold a value. Without it, a reader
// would not know the form of the message.
func (c *Columns) bodyHolds(value string) bool { return c.body != nil && c.body.text(value) == value }

// zlibName returns the value of the column body for a compressed message. Programs
// that read the table of the processor sql of later go-guerrilla versions expect gzip
// for zlib. That table has a column return_path and no charset; the table of the other
// processor, whose readers expect gzencode, has both.
func (c *Columns) zlibName() string {
	if c.find("return_path") != nil && c.find("charset") == nil {
		return BodyGzip
	}
	return BodyZlib
}

// MailIsText reports whether the column mail is text, so that it cannot hold all
// bytes.
func (c *Columns) MailIsText() bool { return c.mail.Kind == Text }

// MailText returns a message for a column mail that is text: '?' replaces each byte
// that is not UTF-8 and each character that the set lacks.
func (c *Columns) MailText(message []byte) []byte {
	text := make([]byte, 0, len(message))
	for len(message) > 0 {
		r, n := utf8.DecodeRune(message)
		if r == utf8.RuneError && n == 1 || !c.mail.charset.Has(r) {
			text = append(text, '?')
		} else {
			text = append(text, message[:n]...)
		}
		message = message[n:]
	}
	return text
}

// Fits returns nil if the columns can hold a recipient unchanged, else the reply
// that refuses it. Every recipient fits while the columns are unknown (c is nil).
func (c *Columns) Fits(address string) *smtp.Reply {
	if c == nil {
		return nil
	}
	for _, f := range [...]*filled{c.to, c.recipient} {
		if f == nil {
			continue
		}
		size, whole := f.size(address)
		if !whole {
			return &smtp.ReplyRecipientUnstorable
		}
		if f.over(int64(utf8.RuneCountInString(address)), size) {
			return &smtp.ReplyRecipientTooLong
		}
	}
	return nil
}

// A fit is the capacity of one column, as in Column.
type fit struct {
	charset           *Charset
	chars, bytes, max int64
}

// number returns n, or the largest number that the column holds.
func (f *fit) number(n int) int {
	if f.max == 0 {
		return n
	}
	return int(min(int64(n), max(f.max, 0)))
}

// size returns the bytes of s in the column, and whether s is valid UTF-8 whose
// characters are all in the column's set.
func (f *fit) size(s string) (size int64, whole bool) {
	whole = utf8.ValidString(s)
	for _, r := range s {
		whole = whole && f.charset.Has(r)
		size += f.charset.bytes(r)
	}
	return size, whole
}

// text returns s as valid UTF-8, cut to the length of the column, with '?' for each
// character that the set lacks.
func (f *fit) text(s string) string {
	if f.plain(s) {
		return s
	}
	var b strings.Builder
	var chars, bytes int64
	for _, r := range s {
		if !f.charset.Has(r) {
			r = '?'
		}
		chars++
		bytes += f.charset.bytes(r)
		if f.over(chars, bytes) {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// over reports whether a text with these numbers of characters and bytes is too
// long for the column.
func (f *fit) over(chars, bytes int64) bool {
	return f.chars != 0 && chars > max(f.chars, 0) || f.bytes != 0 && bytes > max(f.bytes, 0)
}

// plain reports whether s is ASCII and short enough, so that it fits unchanged.
func (f *fit) plain(s string) bool {
	if f.charset != nil && !f.charset.ascii {
		return false
	}
	if n := int64(len(s)); f.over(n, n*f.charset.bytes('a')) {
		return false
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
