package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// inspect is savemail.Driver.Inspect. It creates nothing: a missing file needs a directory in
// which the user may create it, with the files of its WAL.
func inspect(ctx context.Context, o Options) error {
	const modify = unix.R_OK | unix.W_OK
	file, err := filepath.Abs(o.File)
	if err != nil {
		return fmt.Errorf("SQLITE_FILE: %w", err)
	}
	dir := filepath.Dir(file)
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("SQLITE_FILE: create files in %s: %w", dir, err)
	}
	if _, err := os.Stat(o.File); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unix.Faccessat(unix.AT_FDCWD, o.File, modify, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("SQLITE_FILE: open %s: %w", o.File, err)
	}
	r, err := NewReader(o)
	if err != nil {
		return fmt.Errorf("SQLITE_FILE: %w", err)
	}
	defer r.Close()
	if err := r.checkColumns(ctx); err != nil {
		if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == lib.SQLITE_BUSY {
			return fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, o.File, err)
		}
		return fmt.Errorf("SQLITE_FILE: %s: %w", o.File, err)
	}
	return nil
}

// checkColumns returns an error if the daemon cannot use the columns of the table. A missing
// table is created by the first Save.
func (r *Reader) checkColumns(ctx context.Context) error {
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	all, err := (&database{conn: conn}).readColumns(ctx, r.table)
	if err != nil || len(all) == 0 {
		return err
	}
	columns, err := newmail.NewColumns(all)
	if err != nil {
		return err
	}
	if unfilled := columns.Unfilled(); len(unfilled) > 0 {
		return fmt.Errorf("the table %s needs a value or a default for the columns %s", r.table, strings.Join(unfilled, ", "))
	}
	return nil
}
