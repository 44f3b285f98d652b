package savemail

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

// Warnings is a slog.Handler that collects the warnings that a store logs, so that
// Driver.Inspect reports what the daemon would log.
type Warnings struct {
	mu   sync.Mutex
	list []string
}

// List returns the warnings, each as one line.
func (w *Warnings) List() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.list
}

// Enabled reports whether the level is that of a warning or an error.
func (w *Warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle collects a record as its message and its attributes.
func (w *Warnings) Handle(_ context.Context, r slog.Record) error {
	var attributes []string
	r.Attrs(func(a slog.Attr) bool {
		if text := a.Value.String(); text != "" {
			attributes = append(attributes, a.Key+" "+text)
		}
		return true
	})
	text := r.Message
	if len(attributes) > 0 {
		text += ": " + strings.Join(attributes, ", ")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, text)
	return nil
}

// WithAttrs returns w: the stores add no attributes to their loggers.
func (w *Warnings) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup returns w: the stores use no groups.
func (w *Warnings) WithGroup(string) slog.Handler { return w }
