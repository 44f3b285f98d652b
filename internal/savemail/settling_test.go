package savemail_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
)

// TestSettling: the log has the outcome of each batch, also of one that was not settled in time
// or for which there is no goroutine left.
func TestSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		s := savemail.NewSettling(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), time.Minute)
		never := func(ctx context.Context) (outcome, reason error) {
			<-ctx.Done()
			return savemail.ErrUnknown, errors.New("no answer")
		}
		s.Go(func(context.Context) (outcome, reason error) { return nil, nil }, "hashes", "stored")
		s.Go(func(context.Context) (outcome, reason error) { return savemail.ErrUnavailable, nil }, "hashes", "absent")
		synctest.Wait()
		for range 100 {
			s.Go(never, "hashes", "late")
		}
		s.Go(never, "hashes", "refused")
		done, cancel := context.WithCancel(t.Context())
		cancel()
		s.Settle(done)
		if strings.Contains(log.String(), "hashes=late") {
			t.Error("Settle has waited longer than its context")
		}
		s.Settle(t.Context())
		for line, want := range map[string]int{
			`"messages with unknown outcome were stored; senders may deliver them again" hashes=stored`: 1,
			`"messages with unknown outcome are not in the table" hashes=absent`:                        1,
			`"messages with unknown outcome cannot be looked up" hashes=late error="no answer"`:         100,
			`"messages with unknown outcome cannot be looked up" hashes=refused`:                        1,
		} {
			if n := strings.Count(log.String(), line+"\n"); n != want {
				t.Errorf("%s is logged %d times, want %d", line, n, want)
			}
		}
	})
}
