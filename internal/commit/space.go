package commit

import (
	"time"

	"goguerrillad/internal/savemail"
)

// spaceInterval is the pause between two checks of the free space. A writer also checks
// it before each Save.
const spaceInterval = time.Second

// Space is the free space of a store with local files.
type Space struct {
	Known bool  // the fields below are known
	Free  int64 // bytes
	Min   int64 // Options.MinFree
	Full  bool  // messages are refused until Free is at least Min and an eighth of it
}

// space is the free space of the current store. Committer.mu guards it.
type space struct {
	Space
	since time.Time // when Full changed last
}

// watchSpace checks the free space until g is retired.
func (c *Committer) watchSpace(g *generation) {
	for {
		c.checkSpace(g)
		select {
		case <-time.After(spaceInterval):
		case <-g.ctx.Done():
			return
		}
	}
}

// checkSpace returns a savemail.FullError if the store has too little free space. If the
// space is unknown, the next Save returns the cause.
func (c *Committer) checkSpace(g *generation) error {
	if g.local == nil {
		return nil
	}
	free, err := g.local.Free()
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generations.current != g {
		return nil
	}
	s := &c.space
	was := s.Full
	s.Known, s.Free, s.Min = true, free, g.MinFree
	s.Full = free < g.MinFree || was && free < g.MinFree+g.MinFree/8 // so that it does not change with each message
	if s.Full != was {
		s.since = time.Now()
		c.full.Store(s.Full)
		g.Changed()
		if s.Full {
			g.Log.Error("too little disk space, replying 452", "free", free, "min_free", g.MinFree)
		} else {
			g.Log.Info("enough disk space again", "free", free, "min_free", g.MinFree)
		}
	}
	if s.Full {
		return s.err()
	}
	return nil
}

func (s *space) err() error { return &savemail.FullError{Free: s.Free, Min: s.Min} }

// refuseFull passes the error of checkSpace to the submitters of a batch.
func (c *Committer) refuseFull(g *generation, batch []pending, err error) {
	c.mu.Lock()
	g.saving--
	c.counters.Full += uint64(len(batch))
	c.mu.Unlock()
	for _, p := range batch {
		p.done(err)
	}
}

// Full reports whether the store has too little free space. It is cheap.
func (c *Committer) Full() bool { return c.full.Load() }

// Space returns the free space of the store.
func (c *Committer) Space() Space {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.space.Space
}
