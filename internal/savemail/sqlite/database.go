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

	"goguerrillad/internal/savemail/newmail"

	"modernc.org/sqlite"
)

// dateLayout is the layout of SQLite's date and time functions.
const dateLayout = "2006-01-02 15:04:05"

// A database is an open database file with its table.
type database struct {
	path  string // absolute, without symbolic links; the WAL is path + "-wal"
	db    *sql.DB
	conn  *sql.Conn    // the only connection that writes messages
	files []openedFile // the database file, its WAL and its wal-index

	insert      *sql.Stmt // for columns
	columns     *newmail.Columns
	strict      bool      // the table is STRICT
	view        bool      // the table is a view, for which SQLite counts no rows
	version     int64     // of the schema with these columns
	readVersion *sql.Stmt // reads the version of the schema

	deletion     deletion
	checkpointer *checkpointer
}

// An openedFile is a file as it was when the database was opened.
type openedFile struct {
	path string
	info fs.FileInfo
}

// pragmas are the settings of the writer's connection, in this order: the page
// size of a new file must be set before the journal mode. Large pages save a
// third of the work for large messages. SQLite ignores the errors of automatic
// checkpoints.
var pragmas = []string{
	"page_size=16384",
	"journal_mode=WAL",
	"synchronous=FULL",
	"wal_autocheckpoint=0",
}

// openDatabase opens the file, creates what is missing, and makes the file
// durable. complete and suspect are the arguments of makeDurable; a file with a
// new table gets a complete checkpoint as well.
func openDatabase(ctx context.Context, o Options, complete, suspect bool) (*database, error) {
	if err := createEmpty(o.File); err != nil {
		return nil, err
	}
	path, err := realPath(o.File)
	if err != nil {
		return nil, err
	}
	// fdatasync(2) also syncs the length of the file. SQLite in C uses it as well.
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return nil, err
	}
	db, err := openDB(path, "mode=rw")
	if err != nil {
		return nil, err
	}
	d := &database{path: path, db: db}
	created, err := d.setUp(ctx, o)
	if err == nil {
		err = d.makeDurable(ctx, complete || created, suspect)
	}
	if err != nil {
		return nil, errors.Join(err, d.close(true))
	}
	return d, nil
}

// createEmpty creates an empty file if it is missing, with mode 0640, and its
// directory if only that is missing. makeDurable syncs their names.
func createEmpty(path string) error {
	if err := checkRegular(path); !errors.Is(err, fs.ErrNotExist) {
		// Do not open an existing file: closing it would release the locks that
		// another connection of this process has on it (POSIX, fcntl(2)).
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

// openDB returns a pool with one connection to the file at an absolute path. The
// first use makes the connection.
func openDB(path, query string) (*sql.DB, error) {
	connector, err := newConnector(path, query)
	if err != nil {
		return nil, err
	}
	return newDB(connector), nil
}

func newDB(connector driver.Connector) *sql.DB {
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db
}

// newConnector returns a connector whose connections wait for locks of other
// processes, for busyTimeout at most.
func newConnector(path, query string) (driver.Connector, error) {
	query += fmt.Sprintf("&_pragma=busy_timeout(%d)", busyTimeout.Milliseconds())
	name := url.URL{Scheme: "file", Path: path, RawQuery: query}
	return sqlite.NewConnector(name.String())
}

// setUp connects, creates the table if it is missing, and prepares the INSERT. It
// reports whether it created the table.
func (d *database) setUp(ctx context.Context, o Options) (created bool, err error) {
	if d.conn, err = d.db.Conn(ctx); err != nil {
		return false, fmt.Errorf("open: %w", err)
	}
	if err := setPersistWAL(d.conn, true); err != nil {
		return false, fmt.Errorf("keep the WAL: %w", err)
	}
	for _, pragma := range pragmas {
		if _, err := d.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return false, fmt.Errorf("set %s: %w", pragma, err)
		}
	}
	var mode string
	if err := d.conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return false, fmt.Errorf("read the journal mode: %w", err)
	} else if mode != "wal" {
		return false, fmt.Errorf("set the journal mode: it remains %s", mode)
	}
	if created, err = d.ensureTable(ctx, o.Table); err != nil {
		return false, err
	}
	if d.checkpointer, err = newCheckpointer(ctx, d.path, o.Log); err != nil {
		return false, fmt.Errorf("open for checkpoints: %w", err)
	}
	for _, path := range []string{o.File, d.path + "-wal", d.path + "-shm"} {
		info, err := os.Stat(path)
		if err != nil {
			return false, err
		}
		d.files = append(d.files, openedFile{path, info})
	}
	return created, nil
}

// completeMoved copies the WAL of a file that is no longer at its path into the
// file and empties the WAL; SQLite does not when it closes such a file. The
// file may be kept as a backup, and SQLite must not use a WAL that is still at
// the path for another file.
func (d *database) completeMoved(ctx context.Context, log *slog.Logger) {
	checkpointErr := d.checkpointer.err()
	stopErr := d.stopCheckpointer()
	result, err := walCheckpoint(ctx, d.conn, "TRUNCATE")
	if err == nil && !result.complete() {
		err = errors.New("another program reads or writes the file")
	}
	if err := errors.Join(checkpointErr, stopErr, err); err != nil {
		log.Error("SQLite file moved without the latest messages", "file", d.path, "error", err)
	}
}

// stopCheckpointer stops the checkpointer if it runs.
func (d *database) stopCheckpointer() error {
	if d.checkpointer == nil {
		return nil
	}
	err := d.checkpointer.stop()
	d.checkpointer = nil
	return err
}

// close closes the connections. With keepWAL, the next openDatabase recovers
// the WAL. Otherwise SQLite copies the WAL into the file and deletes it, if no
// other connection is open.
func (d *database) close(keepWAL bool) error {
	errs := []error{d.stopCheckpointer(), d.deletion.close()}
	for _, statement := range []*sql.Stmt{d.insert, d.readVersion} {
		if statement != nil {
			errs = append(errs, statement.Close())
		}
	}
	if d.conn != nil {
		if !keepWAL {
			errs = append(errs, setPersistWAL(d.conn, false))
		}
		errs = append(errs, d.conn.Close())
	}
	return errors.Join(append(errs, d.db.Close())...)
}
