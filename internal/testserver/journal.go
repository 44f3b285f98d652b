package testserver

import (
	"log/slog"
	"strings"
	"sync"
)

// A Journal is a log to look into. Its zero value is empty and ready.
type Journal struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write makes it what a handler writes to.
func (j *Journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// String returns all of it.
func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Count tells how often a text is in it.
func (j *Journal) Count(text string) int { return strings.Count(j.String(), text) }

// Logger returns one that writes here, without times.
func (j *Journal) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		},
	}))
}
