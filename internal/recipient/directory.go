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
	// Has reports whether the query returns a row for a recipient. It returns
	// soon after ctx is done. ErrInvalid means that a retry cannot succeed.
	Has(ctx context.Context, address, domain string) (bool, error)
	// Close closes the connections. It must not be called while Has is running.
	Close() error
}

// ErrInvalid is the error of a query that the database does not accept.
var ErrInvalid = errors.New("the database refuses the query")

// Found reports whether the result of a query has a row, and closes the result.
// Its parameters are the values that sql.DB.QueryContext returns.
func Found(rows *sql.Rows, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	found := rows.Next()
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return false, err
	}
	return found, nil
}

// Connections is the maximum number of concurrent queries of a Directory.
const Connections = 4

const (
	maxKnown = 1 << 17         // cached answers, less than 30 MiB
	askTime  = 5 * time.Second // for a query, with the wait for a connection
)

// A Directory accepts or refuses recipients by a query, and caches the answers.
// Its methods may be called from any goroutine.
type Directory struct {
	log     *slog.Logger
	changed func()

	mu      sync.Mutex
	current *generation    // nil: every recipient is accepted
	closing sync.WaitGroup // goroutines that close a replaced source
	outage  outage
	stats   Stats
}

// Stats counts events since the start.
type Stats struct {
	Cached  uint64 // answers from the cache
	Queries uint64 // queries, failed ones included
	Failed  uint64 // failed queries
	Failing error  // of the last query, nil if it succeeded
}

// A generation is a source and the answers of that source.
type generation struct {
	source  Source
	keep    time.Duration
	known   *simplelru.LRU[key, answer]
	pending map[string]*lookup // by address; at most one for each session
	slots   chan struct{}      // holds a token for each running query
	running sync.WaitGroup     // a goroutine for each lookup
	retired chan struct{}      // closed when another generation is current
}

// A key is the hash of an address, so that all cache entries have the same size.
type key = [sha256.Size]byte

type answer struct {
	refusal *smtp.Reply
	until   time.Time
}

// A lookup is a running query and the callbacks that wait for its answer.
type lookup struct{ waiting []func(*smtp.Reply) }

// New returns a directory without a source, which accepts every recipient. It calls
// changed, which must not block, when the queries begin or cease to fail.
func New(log *slog.Logger, changed func()) *Directory { return &Directory{log: log, changed: changed} }

// Use replaces the source and clears the cache. If s is nil, every recipient is
// accepted. The directory caches answers for the time keep, and none if keep is 0.
// It closes the old source when the queries of that source have ended.
func (d *Directory) Use(s Source, keep time.Duration) {
	var next *generation
	if s != nil {
		next = &generation{source: s, keep: keep, pending: map[string]*lookup{}, slots: make(chan struct{}, Connections), retired: make(chan struct{})}
		// NewLRU fails only for a size below 1.
		next.known, _ = simplelru.NewLRU[key, answer](maxKnown, nil)
	}
	d.mu.Lock()
	last := d.current
	d.current = next
	d.outage.end()
	d.stats.Failing = nil
	d.mu.Unlock()
	if last != nil {
		close(last.retired)
		d.closing.Go(func() {
			last.running.Wait()
			if err := last.source.Close(); err != nil {
				d.log.Warn("cannot close the connections for GM_RECIPIENT_QUERY", "error", err)
			}
		})
	}
}

// Close removes the source, and waits until its queries have ended and the source is
// closed.
func (d *Directory) Close() {
	d.Use(nil, 0)
	d.closing.Wait()
}

// Stats returns the counters.
func (d *Directory) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Known returns the cached answer for a recipient: nil if the recipient is
// accepted, else the refusal. It returns false if the answer is not cached.
func (d *Directory) Known(address string) (refusal *smtp.Reply, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil {
		return nil, true
	}
	return d.cached(d.current, canonical(address))
}

func (d *Directory) cached(g *generation, address string) (refusal *smtp.Reply, ok bool) {
	a, ok := g.known.Get(sha256.Sum256([]byte(address)))
	if !ok || !time.Now().Before(a.until) {
		return nil, false
	}
	d.stats.Cached++
	return a.refusal, true
}

// Ask calls done once, from any goroutine, with nil if the recipient is accepted,
// else with the refusal. It calls done within 15 s.
func (d *Directory) Ask(address string, done func(refusal *smtp.Reply)) {
	address = canonical(address)
	d.mu.Lock()
	g := d.current
	var refusal *smtp.Reply
	ok := g == nil
	if !ok { // another lookup may have ended since Known
		refusal, ok = d.cached(g, address)
	}
	if ok {
		d.mu.Unlock()
		done(refusal)
		return
	}
	defer d.mu.Unlock()
	if l := g.pending[address]; l != nil {
		l.waiting = append(l.waiting, done)
		return
	}
	g.pending[address] = &lookup{waiting: []func(*smtp.Reply){done}}
	g.running.Go(func() { d.run(g, address) })
}

// run runs the query for an address and calls the waiting callbacks. While an outage is
// short, it runs a failed query again.
func (d *Directory) run(g *generation, address string) {
	began := time.Now()
	found, err := g.query(address)
	for pause := minPause; d.record(g, began, err); pause = min(2*pause, maxPause) {
		select {
		case <-time.After(pause):
			found, err = g.query(address)
		case <-g.retired:
			d.askAgain(g, address)
			return
		}
	}
	var refusal *smtp.Reply
	switch {
	case err != nil:
		refusal = &smtp.ReplyRecipientUnchecked
	case !found:
		refusal = &smtp.ReplyNoSuchRecipient
	}
	d.mu.Lock()
	l := g.pending[address]
	delete(g.pending, address)
	if err == nil && g.keep > 0 {
		g.known.Add(sha256.Sum256([]byte(address)), answer{refusal, time.Now().Add(g.keep)})
	}
	d.mu.Unlock()
	for _, done := range l.waiting {
		done(refusal)
	}
}

// askAgain asks the source that has replaced g, if there is one. Close has no other source.
func (d *Directory) askAgain(g *generation, address string) {
	d.mu.Lock()
	l, closed := g.pending[address], d.current == nil
	delete(g.pending, address)
	d.mu.Unlock()
	for _, done := range l.waiting {
		if closed {
			done(&smtp.ReplyRecipientUnchecked)
		} else {
			d.Ask(address, done)
		}
	}
}

func (g *generation) query(address string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-ctx.Done():
		return false, errors.New("wait for a free connection: timeout")
	}
	return g.source.Has(ctx, address, address[strings.LastIndexByte(address, '@')+1:])
}

// canonical returns an address as the query receives it: the domain in lower case
// and without a final dot, which is the same domain. The local part stays unchanged,
// since only the receiving domain defines which local parts are equal.
func canonical(address string) string {
	i := strings.LastIndexByte(address, '@') + 1
	return address[:i] + strings.ToLower(strings.TrimSuffix(address[i:], "."))
}
