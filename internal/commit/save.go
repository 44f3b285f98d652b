package commit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// save passes a batch to the store and reports the outcomes. It halves a batch whose
// envelopes were all rejected until the rejected envelope is alone. If a half fails
// for another reason, save does not try the other half and returns the failure.
func (c *Committer) save(ctx context.Context, g *generation, batch []pending) error {
	begun := time.Now()
	errs := g.call(ctx, batch)
	took := time.Since(begun)
	if len(batch) > 1 && allRejected(errs) {
		half := len(batch) / 2
		if err := c.save(ctx, g, batch[:half]); err != nil {
			for i := range batch[half:] {
				batch[half+i].err = fmt.Errorf("%w: not tried after a failure: %v", savemail.ErrUnavailable, err)
			}
			c.postpone(batch[half:], begun)
			return err
		}
		return c.save(ctx, g, batch[half:])
	}
	return c.report(g, batch, errs, begun, took)
}

// call calls Save and returns one outcome per envelope. If the store returns too few
// outcomes, a missing one is ErrUnknown, since the message may have been committed.
func (g *generation) call(ctx context.Context, batch []pending) []error {
	envelopes := make([]*envelope.Envelope, len(batch))
	for i, p := range batch {
		envelopes[i] = p.envelope
	}
	errs := g.store.Save(ctx, envelopes)
	for len(errs) < len(batch) {
		errs = append(errs, fmt.Errorf("%w: the store returned no outcome", savemail.ErrUnknown))
	}
	return errs[:len(batch)]
}

func allRejected(errs []error) bool {
	for _, err := range errs {
		if kind(err) != savemail.ErrRejected {
			return false
		}
	}
	return true
}

// kind returns the error of package savemail that err counts as, nil for nil.
func kind(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, savemail.ErrUnknown): // first: never save this message again
		return savemail.ErrUnknown
	case errors.Is(err, savemail.ErrRejected):
		return savemail.ErrRejected
	case errors.Is(err, savemail.ErrRefused):
		return savemail.ErrRefused
	default:
		return savemail.ErrUnavailable
	}
}

// report logs and counts the outcomes of one Save and passes them to the submitters.
// It returns the last ErrUnavailable, else the last ErrUnknown, else nil.
func (c *Committer) report(g *generation, batch []pending, errs []error, begun time.Time, took time.Duration) error {
	var unavailable, unknown error
	var failed []pending
	var unsettled []*envelope.Envelope
	var n Counters
	for i, err := range errs {
		e := batch[i].envelope
		switch kind(err) {
		case nil:
			n.Batches = 1
			n.Messages++
			n.Rows += uint64(batch[i].rows())
			n.Bytes += uint64(e.Size())
		case savemail.ErrRejected:
			n.Rejected++
			g.Log.Error("store rejected the message, replied 451",
				"session", e.Session, "hashes", hashes(e), "from", e.From, "size", e.Size(), "error", err)
		case savemail.ErrRefused:
			n.Refused++
		case savemail.ErrUnknown:
			n.Unknown++
			unknown = err
			unsettled = append(unsettled, e)
		default:
			unavailable = err
			batch[i].err = err
			failed = append(failed, batch[i])
		}
	}
	c.count(n)
	if n.Rows > 0 && g.Committed != nil {
		g.Committed(took, int(n.Rows))
	}
	switch {
	case unavailable != nil && c.failAlone(failed):
		c.uncertain(g, unavailable)
	case unavailable != nil:
		c.down(g, unavailable, begun)
	case unknown != nil:
		c.uncertain(g, unknown)
	default:
		c.up(g)
	}
	if unknown != nil {
		g.Log.Warn("commit outcome unknown, replied 451", "error", unknown, "hashes", savemail.Hashes(unsettled))
	}
	for i, p := range batch {
		if kind(errs[i]) != savemail.ErrUnavailable {
			p.done(errs[i])
		}
	}
	c.postpone(failed, begun)
	return cmp.Or(unavailable, unknown)
}

// fail passes err, which counts as ErrUnavailable, to the submitters of a batch.
func (c *Committer) fail(batch []pending, err error) {
	c.count(Counters{Unavailable: uint64(len(batch))})
	for _, p := range batch {
		p.done(err)
	}
}

func (c *Committer) count(n Counters) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counters.Batches += n.Batches
	c.counters.Messages += n.Messages
	c.counters.Rows += n.Rows
	c.counters.Bytes += n.Bytes
	c.counters.Unavailable += n.Unavailable
	c.counters.Rejected += n.Rejected
	c.counters.Refused += n.Refused
	c.counters.Unknown += n.Unknown
}

func hashes(e *envelope.Envelope) []string { return savemail.Hashes([]*envelope.Envelope{e}) }
