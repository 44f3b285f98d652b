package logging

import (
	"bytes"
	"context"
	"encoding"
	"encoding/binary"
	"io"
	"iter"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
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
	wrap    func(slog.Handler) slog.Handler // applies WithAttrs and WithGroup
	text    *attributes                     // formats the attributes for MESSAGE
	fields  []byte                          // encoded fields of the attributes from WithAttrs
	grouped bool                            // further attributes are in a group, so they are not fields
}

// attributes formats the attributes of one record at a time.
type attributes struct {
	mu      sync.Mutex
	line    bytes.Buffer
	entry   []byte
	handler slog.Handler // writes to line
}

func newJournalHandler(out io.Writer, level slog.Leveler) *journalHandler {
	same := func(text slog.Handler) slog.Handler { return text }
	return (&journalHandler{out: out, level: level, wrap: same}).with(same)
}

// with returns a copy of h whose text handler is wrapped by f.
func (h *journalHandler) with(f func(slog.Handler) slog.Handler) *journalHandler {
	next := *h
	next.wrap = func(text slog.Handler) slog.Handler { return f(h.wrap(text)) }
	next.text = &attributes{}
	next.text.handler = next.wrap(slog.NewTextHandler(&next.text.line, &slog.HandlerOptions{Level: h.level, ReplaceAttr: attributesOnly}))
	return &next
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
	t := h.text
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line.Reset()
	if err := t.handler.Handle(ctx, r); err != nil {
		return err
	}
	e := beginFrame(t.entry[:0])
	e = appendPriority(e, r.Level)
	e = append(e, h.fields...)
	if !h.grouped {
		r.Attrs(func(a slog.Attr) bool {
			e = appendFields(e, a)
			return true
		})
	}
	// The formatted attributes have no line feed but the last.
	e = append(e, "MESSAGE="...)
	end := len(e) + maxText
	e = append(e, escape(r.Message)...)
	if line := bytes.TrimSuffix(t.line.Bytes(), []byte{'\n'}); len(line) > 0 {
		e = append(append(e, ' '), line...)
	}
	e = append(e[:min(len(e), end)], '\n')
	if t.entry = e; cap(e) > 2*maxText || t.line.Cap() > 2*maxText {
		t.entry, t.line = nil, bytes.Buffer{}
	}
	_, err := h.out.Write(endFrame(e))
	return err
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := h.with(func(text slog.Handler) slog.Handler { return text.WithAttrs(attrs) })
	if !h.grouped {
		next.fields = bytes.Clone(h.fields)
		for _, a := range attrs {
			next.fields = appendFields(next.fields, a)
		}
	}
	return next
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := h.with(func(text slog.Handler) slog.Handler { return text.WithGroup(name) })
	next.grouped = true
	return next
}

// escape returns a message in quotes if it has characters that must be escaped, else
// unchanged.
func escape(message string) string {
	special := func(r rune) bool { return !strconv.IsPrint(r) || r == '"' || r == '\\' }
	if utf8.ValidString(message) && !strings.ContainsFunc(message, special) {
		return message
	}
	return strconv.Quote(message)
}

// appendPriority appends the identifier and the priority, the first fields of an entry.
func appendPriority(e []byte, level slog.Level) []byte {
	priority := byte('7') // a number of syslog(3)
	switch {
	case level >= slog.LevelError:
		priority = '3'
	case level >= slog.LevelWarn:
		priority = '4'
	case level >= slog.LevelInfo:
		priority = '6'
	}
	return append(e, "SYSLOG_IDENTIFIER=goguerrillad\nPRIORITY="+string(priority)+"\n"...)
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
	case "session":
		e = appendField(e, fieldPrefix+"SESSION", text(v))
	case "from":
		e = appendField(e, fieldPrefix+"FROM", text(v))
	case "size":
		e = appendField(e, fieldPrefix+"SIZE", text(v))
	case "reply":
		e = appendField(e, fieldPrefix+"REPLY", text(v))
	case "remote":
		client := text(v)
		if host, _, err := net.SplitHostPort(client); err == nil {
			client = host
		}
		e = appendField(e, fieldPrefix+"REMOTE", client)
	case "hash":
		e = appendEach(e, fieldPrefix+"HASH", strings.SplitSeq(text(v), ","))
	case "hashes":
		hashes, ok := v.Any().([]string)
		if !ok {
			hashes = []string{text(v)}
		}
		e = appendEach(e, fieldPrefix+"HASH", slices.Values(hashes))
	case "to":
		to := text(v)
		if strings.Contains(to, `"`) { // a quoted local part can contain a comma
			e = appendEach(e, fieldPrefix+"TO", slices.Values([]string{to}))
		} else {
			e = appendEach(e, fieldPrefix+"TO", strings.SplitSeq(to, ","))
		}
	}
	return e
}

// text returns a value as slog.TextHandler formats it, but never in quotes.
func text(v slog.Value) string {
	if v.Kind() == slog.KindAny {
		if m, ok := v.Any().(encoding.TextMarshaler); ok {
			if b, err := m.MarshalText(); err == nil {
				return string(b)
			}
		}
	}
	return v.String()
}

// appendEach appends a field for each value that is not empty.
func appendEach(e []byte, name string, values iter.Seq[string]) []byte {
	for v := range values {
		if v != "" {
			e = appendField(e, name, v)
		}
	}
	return e
}

// appendField appends a field. The protocol requires a length before a value with a
// line feed.
func appendField(e []byte, name, value string) []byte {
	e = append(e, name...)
	if strings.Contains(value, "\n") {
		e = append(e, '\n')
		e = binary.LittleEndian.AppendUint64(e, uint64(len(value)))
	} else {
		e = append(e, '=')
	}
	return append(append(e, value...), '\n')
}
