package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"goguerrillad/internal/recipient"
)

// Recipients asks the file who receives, on connections of its own that only
// read.
type Recipients struct {
	file  string
	query recipient.Query

	mu        sync.Mutex
	create    func(context.Context) error // has the store create a missing file; nil without a store
	restoring *restoration                // nil unless create runs
	open      *opened                     // nil until it could be
	pause     chan struct{}               // closed when the file may be opened again; nil when it may
	forgotten sync.WaitGroup              // files that were replaced and are being closed
}

// A restoration is a call of create. err is set when done is closed.
type restoration struct {
	done chan struct{}
	err  error
}

// restoreTime bounds a call of create, which also waits for a Save that runs.
const restoreTime = 10 * time.Second

// opened is the file that was at the path at one time.
type opened struct {
	info  fs.FileInfo
	db    *sql.DB
	users sync.WaitGroup
}

// NewRecipients returns what asks the query of the file that the store has.
// The file is opened when it is needed. Only a store creates it (Store.Share).
func NewRecipients(o Options, q recipient.Query) *Recipients {
	return &Recipients{file: o.File, query: q}
}

// TryRecipients asks the query once, and leaves no trace on the disk. Of a file
// that is missing it can only say whether the query is SQL.
func TryRecipients(ctx context.Context, o Options, q recipient.Query, address, domain string) error {
	r, err := NewReader(o)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(parse(ctx, q), err)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = has(ctx, r.db, q, address, domain)
	return err
}

// parse has SQLite read the query where there are no tables.
func parse(ctx context.Context, q recipient.Query) error {
	connector, err := sqlite.NewConnector(":memory:")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if _, err = has(ctx, db, q, "", ""); err != nil && strings.Contains(err.Error(), "no such table") {
		return nil
	}
	return err
}

// Has reports whether the query has a row.
func (r *Recipients) Has(ctx context.Context, address, domain string) (bool, error) {
	o, err := r.acquire(ctx)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", r.file, err)
	}
	defer o.users.Done()
	return has(ctx, o.db, r.query, address, domain)
}

func has(ctx context.Context, db *sql.DB, q recipient.Query, address, domain string) (found bool, err error) {
	found, err = recipient.Found(db.QueryContext(ctx, q.SQL, q.Args(address, domain)...))
	return found, refusal(err)
}

// refusal tells an error that is the query's own; nil stays nil.
func refusal(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == sqlite3.SQLITE_ERROR {
		return fmt.Errorf("%w: %w", recipient.ErrInvalid, err)
	}
	return err
}

// acquire returns the file that is at the path now, for one more user. If it was
// moved or deleted, acquire has the store create it again: as long as no recipient
// is accepted, no Save does.
func (r *Recipients) acquire(ctx context.Context) (*opened, error) {
	o, err := r.present(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return o, err
	}
	if restored := r.restore(ctx); restored != nil {
		return nil, fmt.Errorf("%w; %w", err, restored)
	}
	return r.present(ctx)
}

// restore has the store create the file, once for all that wait for it. The
// store waits for the users of the file, so the caller is not one.
func (r *Recipients) restore(ctx context.Context) error {
	r.mu.Lock()
	if r.create == nil {
		r.mu.Unlock()
		return errors.New("no store creates it")
	}
	running := r.restoring
	if running == nil {
		running = &restoration{done: make(chan struct{})}
		r.restoring = running
		go func(create func(context.Context) error) { // one at most: a Save may hold the store for longer than ctx
			ctx, cancel := context.WithTimeout(context.Background(), restoreTime)
			defer cancel()
			running.err = create(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.restoring = nil
			close(running.done)
		}(r.create)
	}
	r.mu.Unlock()
	select {
	case <-running.done:
		return running.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// present returns the file that is at the path now, for one more user.
func (r *Recipients) present(ctx context.Context) (*opened, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.pause != nil {
		pause := r.pause
		r.mu.Unlock()
		select {
		case <-pause:
		case <-ctx.Done():
		}
		r.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	info, err := os.Stat(r.file)
	if err == nil && r.open != nil && os.SameFile(info, r.open.info) {
		r.open.users.Add(1)
		return r.open, nil
	}
	r.forget()
	if err != nil {
		return nil, err
	}
	path, err := realPath(r.file) // all connections of the pool open the same file
	if err != nil {
		return nil, err
	}
	if err := isFile(path); err != nil {
		return nil, err
	}
	db, err := connect(path, "mode=ro")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(recipient.Connections)
	db.SetMaxIdleConns(recipient.Connections)
	r.open = &opened{info: info, db: db}
	r.open.users.Add(1)
	return r.open, nil
}

// leave closes the file when its users have gone, and keeps it closed until
// comeBack.
func (r *Recipients) leave() {
	r.mu.Lock()
	o := r.open
	r.open, r.pause = nil, make(chan struct{})
	r.mu.Unlock()
	if o != nil {
		o.users.Wait()
		_ = o.db.Close() // nothing was written
	}
	r.forgotten.Wait() // no file is added during the pause
}

func (r *Recipients) comeBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.pause)
	r.pause = nil
}

// forget closes the file when its users have gone.
func (r *Recipients) forget() {
	if o := r.open; o != nil {
		r.open = nil
		r.forgotten.Go(func() { // for the time of the last query
			o.users.Wait()
			_ = o.db.Close() // nothing was written
		})
	}
}

// Close closes the file.
func (r *Recipients) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgotten.Wait()
	if r.open == nil {
		return nil
	}
	o := r.open
	r.open = nil
	o.users.Wait()
	return o.db.Close()
}
