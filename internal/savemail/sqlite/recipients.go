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
	lib "modernc.org/sqlite/lib"

	"goguerrillad/internal/recipient"
)

// Recipients runs the recipient query on the file. It has its own read-only
// connections.
type Recipients struct {
	file  string
	query recipient.Query

	mu         sync.Mutex
	createFile func(context.Context) error // Store.createFile; nil without a store
	creating   *creation                   // nil unless createFile runs
	current    *sharedFile                 // nil if the file is not open
	resumed    chan struct{}               // closed by resume; nil unless suspended
	retired    sync.WaitGroup              // replaced files that are not closed yet
}

// A creation is a call of createFile. err is set when done is closed.
type creation struct {
	done chan struct{}
	err  error
}

// createTimeout bounds a call of createFile, which also waits for a running Save.
const createTimeout = 10 * time.Second

// A sharedFile is an open file and the queries that use it. Another file may be at its
// path now.
type sharedFile struct {
	info  fs.FileInfo
	db    *sql.DB
	users sync.WaitGroup // running queries
}

// NewRecipients returns the Recipients for the file of a store. The first query
// opens the file. Only a store creates it (Store.Share).
func NewRecipients(o Options, q recipient.Query) *Recipients {
	return &Recipients{file: o.File, query: q}
}

// TryRecipients runs the query once and does not write to the disk. If the file
// is missing, it returns fs.ErrNotExist, and recipient.ErrInvalid as well if
// the query is not valid SQL.
func TryRecipients(ctx context.Context, o Options, q recipient.Query, address, domain string) error {
	r, err := NewReader(o)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(checkSyntax(ctx, q), err)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = runQuery(ctx, r.db, q, address, domain)
	return err
}

// checkSyntax runs the query on an empty database.
func checkSyntax(ctx context.Context, q recipient.Query) error {
	connector, err := sqlite.NewConnector(":memory:")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if _, err = runQuery(ctx, db, q, "", ""); err != nil && strings.Contains(err.Error(), "no such table") {
		return nil
	}
	return err
}

// Has reports whether the query returns a row.
func (r *Recipients) Has(ctx context.Context, address, domain string) (bool, error) {
	f, err := r.acquire(ctx)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", r.file, err)
	}
	defer f.release()
	return runQuery(ctx, f.db, r.query, address, domain)
}

func runQuery(ctx context.Context, db *sql.DB, q recipient.Query, address, domain string) (found bool, err error) {
	found, err = recipient.Found(db.QueryContext(ctx, q.SQL, q.Args(address, domain)...))
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == lib.SQLITE_ERROR {
		err = fmt.Errorf("%w: %w", recipient.ErrInvalid, err)
	}
	return found, err
}

// acquire returns the file that is at the path now. If the file is missing, acquire
// asks the store to create it, since no Save does so while no recipient is accepted.
// The caller must release the file.
func (r *Recipients) acquire(ctx context.Context) (*sharedFile, error) {
	f, err := r.acquireExisting(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if createErr := r.create(ctx); createErr != nil {
		return nil, fmt.Errorf("%w; %w", err, createErr)
	}
	return r.acquireExisting(ctx)
}

// release ends the use of the file after acquire.
func (f *sharedFile) release() { f.users.Done() }

// create asks the store to create the file, once for all concurrent callers. The
// caller must not hold an acquired file, since the store waits for its release.
func (r *Recipients) create(ctx context.Context) error {
	r.mu.Lock()
	createFile := r.createFile
	if createFile == nil {
		r.mu.Unlock()
		return errors.New("no store creates the file")
	}
	running := r.creating
	if running == nil {
		running = &creation{done: make(chan struct{})}
		r.creating = running
		go func() { // a goroutine, since a Save may block createFile longer than ctx allows
			ctx, cancel := context.WithTimeout(context.Background(), createTimeout)
			defer cancel()
			running.err = createFile(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.creating = nil
			close(running.done)
		}()
	}
	r.mu.Unlock()
	select {
	case <-running.done:
		return running.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// acquireExisting is acquire without create. It waits while r is suspended.
func (r *Recipients) acquireExisting(ctx context.Context) (*sharedFile, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.resumed != nil {
		resumed := r.resumed
		r.mu.Unlock()
		select {
		case <-resumed:
		case <-ctx.Done():
		}
		r.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	info, err := os.Stat(r.file)
	if err == nil && r.current != nil && os.SameFile(info, r.current.info) {
		r.current.users.Add(1)
		return r.current, nil
	}
	r.retire()
	if err != nil {
		return nil, err
	}
	path, err := realPath(r.file) // all connections of the pool open the same file
	if err != nil {
		return nil, err
	}
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	db, err := openDB(path, "mode=ro")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(recipient.Connections)
	db.SetMaxIdleConns(recipient.Connections)
	r.current = &sharedFile{info: info, db: db}
	r.current.users.Add(1)
	return r.current, nil
}

// suspend waits for the running queries and closes the file. The file stays closed
// until resume.
func (r *Recipients) suspend() {
	r.mu.Lock()
	r.retire()
	r.resumed = make(chan struct{})
	r.mu.Unlock()
	r.retired.Wait() // without r.mu, since no query retires a file while r is suspended
}

// resume allows queries again after suspend.
func (r *Recipients) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.resumed)
	r.resumed = nil
}

// retire lets a goroutine close the current file when no query uses it any longer.
// The caller holds r.mu.
func (r *Recipients) retire() {
	if f := r.current; f != nil {
		r.current = nil
		r.retired.Go(func() {
			f.users.Wait()
			_ = f.db.Close() // nothing was written
		})
	}
}

// Close waits for the running queries and closes the file.
func (r *Recipients) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retired.Wait()
	if r.current == nil {
		return nil
	}
	f := r.current
	r.current = nil
	f.users.Wait()
	return f.db.Close()
}
