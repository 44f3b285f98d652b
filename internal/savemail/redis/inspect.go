package redis

import (
	"context"
	"log/slog"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// Inspect returns the warnings about the server, among them why it cannot be used: Redis
// decides about no message, so nothing is an error.
func (s *Settings) Inspect(ctx context.Context, c *config.Config) []string {
	var found savemail.Warnings
	o := s.Options(c, slog.New(&found))
	remaining := saveTimeout
	conn, err := connect(ctx, o, &remaining, maxReplyBytes)
	if err == nil {
		err = (&client{options: o, warned: map[string]bool{}}).inspect(conn)
		conn.Close()
	}
	if err != nil {
		(&health{log: o.Log, mode: o.mode(), healthy: true}).setUnhealthy(err)
	}
	return found.List()
}
