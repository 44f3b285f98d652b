package logging

import (
	"io"
	"log/slog"
	"net/netip"
	"testing"
)

// BenchmarkHandle measures the entry of one stored message.
func BenchmarkHandle(b *testing.B) {
	for name, h := range map[string]slog.Handler{
		"journal": newJournalHandler(io.Discard, slog.LevelInfo),
		"text":    slog.NewTextHandler(io.Discard, nil),
	} {
		b.Run(name, func(b *testing.B) {
			log := slog.New(h)
			remote := netip.MustParseAddrPort("192.0.2.1:1234")
			b.ReportAllocs()
			for b.Loop() {
				log.Info("message stored", "session", "0000abcd", "remote", remote, "from", "a@example.com", "to", "test@example.com",
					"size", 5000, "hashes", []string{"0123456789abcdef0123456789abcdef"})
			}
		})
	}
}
