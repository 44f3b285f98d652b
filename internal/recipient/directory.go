package recipient

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"goguerrillad/internal/smtp"
)

// A Source runs the query. Its methods may be called from any goroutine.
type Source interface {
	// Has reports whether the query has a row for a recipient. It returns soon
	// after ctx is done. An error that is ErrInvalid will not go away by itself.
	Has(ctx context.Context, address, domain string) (bool, error)
	// Close gives the connections back. No Has is running then.
	Close() error
}

// ErrInvalid is the database's refusal of the query itself.
var ErrInvalid = errors.New("the database refuses the query")

// Found reports whether a query's answer has a row, and closes it.
func Found(answer *sql.Rows, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	found := answer.Next()
	if err := errors.Join(answer.Err(), answer.Close()); err != nil {
		return false, err
	}
	return found, nil
}

// Bounds of a Directory.
const (
	Connections = 4       // queries at a time
	maxKnown    = 1 << 17 // answers that are kept: under 30 MiB
	askTime     = 5 * time.Second
	quietTime   = time.Minute // in which a query that fails is logged once
)

// A Directory knows who receives, as far as that was asked lately. Its methods
// may be called from any goroutine.
type Directory struct {
	log *slog.Logger

	mu      sync.Mutex
	current *generation // nil: everybody receives
	retired sync.WaitGroup
	failing bool
	told    time.Time // of the last failure that was logged
	stats   Stats
}

// Stats counts since the start.
type Stats struct {
	Cached uint64 // answers that were known
	Asked  uint64 // queries
	Failed uint64 // queries without an answer
}

// A generation is one source with what it has said.
type generation struct {
	source  Source
	keep    time.Duration
	known   *simplelru.LRU[key, answer]
	asked   map[string]*question // one for each address, as many as there are sessions at most
	slots   chan struct{}        // a token for each query that runs
	running sync.WaitGroup       // a goroutine for each question
}

// A key stands for an address, so that an answer takes the same room for each.
type key = [sha256.Size]byte

type answer struct {
	refusal *smtp.Reply
	until   time.Time
}

type question struct{ waiting []func(*smtp.Reply) }

// New returns a directory in which everybody receives.
func New(log *slog.Logger) *Directory { return &Directory{log: log} }

// Use asks another source from now on, nil for none, and forgets what the last
// one said. Answers are kept for the time given, 0 for not at all. The last
// source is closed when its queries have ended.
func (d *Directory) Use(s Source, keep time.Duration) {
	var next *generation
	if s != nil {
		next = &generation{source: s, keep: keep, asked: map[string]*question{}, slots: make(chan struct{}, Connections)}
		// An error is a size below 1.
		next.known, _ = simplelru.NewLRU[key, answer](maxKnown, nil)
	}
	d.mu.Lock()
	last := d.current
	d.current = next
	d.mu.Unlock()
	if last != nil {
		d.retired.Go(func() {
			last.running.Wait()
			if err := last.source.Close(); err != nil {
				d.log.Warn("the connections for GM_RECIPIENT_QUERY do not close cleanly", "error", err)
			}
		})
	}
}

// Close ends the last source, and waits for its queries.
func (d *Directory) Close() {
	d.Use(nil, 0)
	d.retired.Wait()
}

// Stats returns the counters.
func (d *Directory) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Known returns what is known of a recipient at once: nil or the refusal.
func (d *Directory) Known(address string) (refusal *smtp.Reply, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil {
		return nil, true
	}
	return d.recall(d.current, canonical(address))
}

func (d *Directory) recall(g *generation, address string) (refusal *smtp.Reply, ok bool) {
	a, ok := g.known.Get(sha256.Sum256([]byte(address)))
	if !ok || !time.Now().Before(a.until) {
		return nil, false
	}
	d.stats.Cached++
	return a.refusal, true
}

// Ask calls done once, from any goroutine, with nil when the recipient is
// accepted, or the refusal. It takes at most askTime.
func (d *Directory) Ask(address string, done func(refusal *smtp.Reply)) {
	address = canonical(address)
	d.mu.Lock()
	g := d.current
	var refusal *smtp.Reply
	ok := g == nil
	if !ok { // it may have become known since Known
		refusal, ok = d.recall(g, address)
	}
	if ok {
		d.mu.Unlock()
		done(refusal)
		return
	}
	defer d.mu.Unlock()
	if q := g.asked[address]; q != nil {
		q.waiting = append(q.waiting, done)
		return
	}
	g.asked[address] = &question{waiting: []func(*smtp.Reply){done}}
	g.running.Go(func() { d.ask(g, address) })
}

// ask has a question answered.
func (d *Directory) ask(g *generation, address string) {
	found, err := g.ask(address)
	var refusal *smtp.Reply
	switch {
	case err != nil:
		refusal = &smtp.ReplyRecipientUnchecked
	case !found:
		refusal = &smtp.ReplyNoSuchRecipient
	}
	d.mu.Lock()
	q := g.asked[address]
	delete(g.asked, address)
	if err == nil && g.keep > 0 {
		g.known.Add(sha256.Sum256([]byte(address)), answer{refusal, time.Now().Add(g.keep)})
	}
	d.note(err)
	d.mu.Unlock()
	for _, done := range q.waiting {
		done(refusal)
	}
}

func (g *generation) ask(address string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-ctx.Done():
		return false, errors.New("the database is too slow")
	}
	return g.source.Has(ctx, address, address[strings.LastIndexByte(address, '@')+1:])
}

// note counts a query and logs the first of several that fail, and the end of
// that.
func (d *Directory) note(err error) {
	d.stats.Asked++
	if err == nil {
		if d.failing {
			d.log.Info("GM_RECIPIENT_QUERY is answered again")
		}
		d.failing = false
		return
	}
	d.stats.Failed++
	if now := time.Now(); !d.failing && now.Sub(d.told) >= quietTime {
		d.failing, d.told = true, now
		d.log.Error("GM_RECIPIENT_QUERY fails: recipients who are not known are told to try again later", "reason", err)
	}
}

// canonical is the form in which an address is asked for: its domain in lower
// case, without a dot at the end, since neither makes another domain. The
// local part is the domain's own affair.
func canonical(address string) string {
	i := strings.LastIndexByte(address, '@') + 1
	return address[:i] + strings.ToLower(strings.TrimSuffix(address[i:], "."))
}
