package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"goguerrillad/internal/savemail/newmail"

	"modernc.org/sqlite"
)

// dateLayout is how SQLite's own date functions write a time.
const dateLayout = "2006-01-02 15:04:05"

// A file is an open database with its table.
type file struct {
	path    string // absolute, without symbolic links: SQLite's WAL is beside it
	db      *sql.DB
	conn    *sql.Conn // the only one that writes
	insert  *sql.Stmt
	columns *newmail.Columns
	parts   []part // the file, its WAL and its wal-index

	checkpointer *checkpointer
}

// A part is a file as it was opened.
type part struct {
	path string
	info fs.FileInfo
}

// settings of the connection, in this order: the page size of a new file can
// only be set before it becomes a WAL database. Large pages save a third of the
// work for large mails. SQLite ignores the errors of automatic checkpoints.
var settings = []string{
	"page_size=16384",
	"journal_mode=WAL",
	"synchronous=FULL",
	"wal_autocheckpoint=0",
}

// openFile opens the file, makes what is missing of it, and makes all that it
// holds durable, after an earlier attempt to create it with a whole checkpoint.
func openFile(ctx context.Context, o Options, whole, suspect bool) (*file, error) {
	if err := create(o.File); err != nil {
		return nil, err
	}
	path, err := realPath(o.File)
	if err != nil {
		return nil, err
	}
	// As C builds of SQLite do: the length of the file is synced as well.
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return nil, err
	}
	db, err := connect(path, "mode=rw")
	if err != nil {
		return nil, err
	}
	f := &file{path: path, db: db}
	created, err := f.prepare(ctx, o)
	if err == nil {
		err = f.makeDurable(ctx, whole || created, suspect)
	}
	if err != nil {
		return nil, errors.Join(err, f.close(true))
	}
	return f, nil
}

// create makes an empty file if there is none, for the owner to write and the
// group to read, and its directory if that alone is missing. makeDurable syncs
// their names.
func create(path string) error {
	if err := isFile(path); !errors.Is(err, fs.ErrNotExist) {
		// Never open what is there: closing it would end the locks that
		// another connection of this process has on it (POSIX).
		return err
	}
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}

// connect returns a pool of one connection to the file at an absolute path. The
// connection is made later and waits for other processes.
func connect(path, query string) (*sql.DB, error) {
	connector, err := newConnector(path, query)
	if err != nil {
		return nil, err
	}
	return pool(connector), nil
}

func pool(connector driver.Connector) *sql.DB {
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db
}

func newConnector(path, query string) (driver.Connector, error) {
	query += fmt.Sprintf("&_pragma=busy_timeout(%d)", busyTimeout.Milliseconds())
	name := url.URL{Scheme: "file", Path: path, RawQuery: query}
	return sqlite.NewConnector(name.String())
}

// prepare connects, makes the table if it is missing, which it reports, and
// prepares the INSERT.
func (f *file) prepare(ctx context.Context, o Options) (created bool, err error) {
	if f.conn, err = f.db.Conn(ctx); err != nil {
		return false, fmt.Errorf("open: %w", err)
	}
	if err := persistWAL(f.conn, true); err != nil {
		return false, fmt.Errorf("keep the WAL: %w", err)
	}
	for _, pragma := range settings {
		if _, err := f.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return false, fmt.Errorf("set %s: %w", pragma, err)
		}
	}
	var mode string
	if err := f.conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return false, fmt.Errorf("read the journal mode: %w", err)
	} else if mode != "wal" {
		return false, fmt.Errorf("the journal mode is %s and cannot become wal", mode)
	}
	if created, err = f.table(ctx, o.Table); err != nil {
		return false, err
	}
	written := newmail.Written()
	statement := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", quote(o.Table), quoteAll(written), placeholders(written))
	if f.insert, err = f.conn.PrepareContext(ctx, statement); err != nil {
		return false, fmt.Errorf("prepare the INSERT: %w", err)
	}
	if f.checkpointer, err = newCheckpointer(ctx, f.path, o.Log); err != nil {
		return false, fmt.Errorf("open for checkpoints: %w", err)
	}
	for _, path := range []string{o.File, f.path + "-wal", f.path + "-shm"} {
		info, err := os.Stat(path)
		if err != nil {
			return false, err
		}
		f.parts = append(f.parts, part{path, info})
	}
	return created, nil
}

// placeholders has a parameter for each column; spam_score is a constant.
func placeholders(columns []string) string {
	values := make([]string, len(columns))
	for i, c := range columns {
		values[i] = "?"
		if c == "spam_score" {
			values[i] = "0"
		}
	}
	return strings.Join(values, ",")
}

// detach makes a file that is no longer at its path complete in itself, since
// SQLite would not on closing it: it may live on elsewhere as a backup, and the
// WAL that stayed behind must not be taken for that of another file.
func (f *file) detach(ctx context.Context, log *slog.Logger) {
	failed := f.checkpointer.err()
	stopped := f.stopCheckpoints()
	state, err := walState(ctx, f.conn, "TRUNCATE")
	if err == nil && !state.complete() {
		err = errors.New("another program reads or writes the file")
	}
	if err := errors.Join(failed, stopped, err); err != nil {
		log.Error("SQLite file moved without the latest messages", "file", f.path, "error", err)
	}
}

// stopCheckpoints leaves the file to the writer.
func (f *file) stopCheckpoints() error {
	if f.checkpointer == nil {
		return nil
	}
	err := f.checkpointer.stop()
	f.checkpointer = nil
	return err
}

// close closes the connections. With keep, the WAL stays as it is, for the next
// openFile; else SQLite moves it into the file if no other connection is open.
func (f *file) close(keep bool) error {
	errs := []error{f.stopCheckpoints()}
	if f.insert != nil {
		errs = append(errs, f.insert.Close())
	}
	if f.conn != nil {
		if !keep {
			errs = append(errs, persistWAL(f.conn, false))
		}
		errs = append(errs, f.conn.Close())
	}
	return errors.Join(append(errs, f.db.Close())...)
}
