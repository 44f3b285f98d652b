package logging

import (
	"context"
	"log/slog"
)

// A handler formats records in the form of the log's current output.
type handler struct {
	log           *Log
	text, journal slog.Handler
}

func (h handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.log.level.Level()
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	h.log.mu.RLock()
	defer h.log.mu.RUnlock()
	if h.log.native {
		return h.journal.Handle(ctx, r)
	}
	return h.text.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.log, h.text.WithAttrs(attrs), h.journal.WithAttrs(attrs)}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.log, h.text.WithGroup(name), h.journal.WithGroup(name)}
}

// A buffer puts lines into the buffer of the log's current output. Its caller
// must hold Log.mu.
type buffer struct{ log *Log }

func (b buffer) Write(line []byte) (int, error) { return b.log.out.Write(line) }

// withoutTime removes the time from lines that go to the journal, which adds it.
func (l *Log) withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && l.stderr {
		return slog.Attr{}
	}
	return a
}
