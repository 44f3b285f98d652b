package logging

import (
	"bytes"
	"context"
	"encoding"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
)

// fieldPrefix is the prefix of the daemon's own fields:
//
//	HASH     of each recipient's row, one field each
//	TO       each recipient, one field each
//	FROM     the reverse-path, empty for the null sender
//	REMOTE   the client's address, without port
//	SESSION  the id of the client's session
//	SIZE     bytes of the message
//	REPLY    the reply to the client
const fieldPrefix = "GOGUERRILLA_"

// maxText is the maximum length of MESSAGE in bytes. A datagram holds about 200 kB,
// and only logged lines of a dialogue can be longer than maxText.
const maxText = 32 << 10

// A journalHandler writes each record to out as one framed entry of the journal
// (systemd.io, "Native Journal Protocol"): the level as PRIORITY, some attributes as
// fields, and the message with all attributes as MESSAGE. go-systemd's journal package
// keeps fields in a map, but a message for two recipients has two HASH fields.
type journalHandler struct {
	out     io.Writer
	level   slog.Leveler
	text    func(io.Writer) slog.Handler // formats the attributes for MESSAGE
	fields  []byte                       // encoded fields of the attributes from WithAttrs
	grouped bool                         // further attributes are in a group, so they are not fields
}

func newJournalHandler(out io.Writer, level slog.Leveler) *journalHandler {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: attributesOnly}
	return &journalHandler{
		out: out, level: level,
		text: func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) },
	}
}

// attributesOnly removes the time, the level and the message of a record.
func attributesOnly(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	var attributes bytes.Buffer
	if err := h.text(&attributes).Handle(ctx, r); err != nil {
		return err
	}
	message := escape(r.Message)
	if line := strings.TrimSuffix(attributes.String(), "\n"); line != "" {
		message += " " + line
	}
	e := appendPriority(nil, r.Level)
	e = append(e, h.fields...)
	if !h.grouped {
		r.Attrs(func(a slog.Attr) bool {
			e = appendFields(e, a)
			return true
		})
	}
	e = appendField(e, "MESSAGE", message[:min(len(message), maxText)])
	_, err := h.out.Write(appendFrame(nil, e))
	return err
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.text = func(w io.Writer) slog.Handler { return h.text(w).WithAttrs(attrs) }
	if !h.grouped {
		next.fields = bytes.Clone(h.fields)
		for _, a := range attrs {
			next.fields = appendFields(next.fields, a)
		}
	}
	return &next
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.text = func(w io.Writer) slog.Handler { return h.text(w).WithGroup(name) }
	next.grouped = true
	return &next
}

// escape returns a message in quotes if it has characters that must be escaped, else
// unchanged.
func escape(message string) string {
	if quoted := strconv.Quote(message); quoted != `"`+message+`"` {
		return quoted
	}
	return message
}

// appendPriority appends the identifier and the priority, the first fields of an entry.
func appendPriority(e []byte, level slog.Level) []byte {
	priority := 7 // a number of syslog(3)
	switch {
	case level >= slog.LevelError:
		priority = 3
	case level >= slog.LevelWarn:
		priority = 4
	case level >= slog.LevelInfo:
		priority = 6
	}
	return fmt.Appendf(e, "SYSLOG_IDENTIFIER=goguerrillad\nPRIORITY=%d\n", priority)
}

// appendFields appends the fields of an attribute, if it has any.
func appendFields(e []byte, a slog.Attr) []byte {
	v := a.Value.Resolve()
	switch a.Key {
	case "":
		if v.Kind() == slog.KindGroup { // its attributes belong to the record
			for _, inner := range v.Group() {
				e = appendFields(e, inner)
			}
		}
	case "session", "from", "size", "reply":
		e = appendField(e, fieldPrefix+strings.ToUpper(a.Key), text(v))
	case "remote":
		client := text(v)
		if host, _, err := net.SplitHostPort(client); err == nil {
			client = host
		}
		e = appendField(e, fieldPrefix+"REMOTE", client)
	case "hash":
		e = appendEach(e, "HASH", strings.Split(text(v), ","))
	case "hashes":
		hashes, ok := v.Any().([]string)
		if !ok {
			hashes = []string{text(v)}
		}
		e = appendEach(e, "HASH", hashes)
	case "to":
		to := []string{text(v)}
		if !strings.Contains(to[0], `"`) { // a quoted local part can contain a comma
			to = strings.Split(to[0], ",")
		}
		e = appendEach(e, "TO", to)
	}
	return e
}

// text returns a value as slog.TextHandler formats it, but never in quotes.
func text(v slog.Value) string {
	if m, ok := v.Any().(encoding.TextMarshaler); ok && v.Kind() == slog.KindAny {
		if b, err := m.MarshalText(); err == nil {
			return string(b)
		}
	}
	return v.String()
}

// appendEach appends a field for each value that is not empty.
func appendEach(e []byte, name string, values []string) []byte {
	for _, v := range values {
		if v != "" {
			e = appendField(e, fieldPrefix+name, v)
		}
	}
	return e
}

// appendField appends a field. The protocol requires a length before a value with a
// line feed.
func appendField(e []byte, name, value string) []byte {
	if !strings.Contains(value, "\n") {
		return append(e, name+"="+value+"\n"...)
	}
	e = append(e, name+"\n"...)
	e = binary.LittleEndian.AppendUint64(e, uint64(len(value)))
	return append(e, value+"\n"...)
}
