package savemail

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// maxSettling bounds the batches that a Settling looks up concurrently.
const maxSettling = 100

// A Settling looks up unknown outcomes after the daemon has replied 451, and logs them.
type Settling struct {
	ctx   context.Context
	log   *slog.Logger
	limit time.Duration // for one batch

	running    chan struct{} // one element for each goroutine
	goroutines sync.WaitGroup
}

// NewSettling returns a Settling whose goroutines end soon after ctx is done.
func NewSettling(ctx context.Context, log *slog.Logger, limit time.Duration) *Settling {
	return &Settling{ctx: ctx, log: log, limit: limit, running: make(chan struct{}, maxSettling)}
}

// Go calls find in a goroutine and passes its outcome to LogOutcome with the attributes. The
// reason is logged with ErrUnknown.
func (s *Settling) Go(find func(context.Context) (outcome, reason error), attributes ...any) {
	select {
	case s.running <- struct{}{}:
	default:
		LogOutcome(s.log, ErrUnknown, attributes...)
		return
	}
	s.goroutines.Go(func() {
		defer func() { <-s.running }()
		ctx, cancel := context.WithTimeout(s.ctx, s.limit)
		defer cancel()
		outcome, reason := find(ctx)
		if reason != nil {
			attributes = append(attributes, "error", reason)
		}
		LogOutcome(s.log, outcome, attributes...)
	})
}

// Settle waits until every outcome is known, or ctx is done.
func (s *Settling) Settle(ctx context.Context) {
	settled := make(chan struct{})
	go func() { // ends when the context of NewSettling is done
		s.goroutines.Wait()
		close(settled)
	}()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}
