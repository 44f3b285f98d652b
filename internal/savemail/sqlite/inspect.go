package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"goguerrillad/internal/savemail"
)

// inspect is savemail.Driver.Inspect. It creates nothing. A missing file needs a directory in
// which the user may create it, with its WAL, or a parent in which the user may create the
// directory. expires means that the daemon deletes old messages.
func inspect(ctx context.Context, o Options, expires bool) (warnings []string, err error) {
	path, err := realPath(o.File)
	missing := errors.Is(err, fs.ErrNotExist)
	if missing {
		path, err = filepath.Abs(o.File)
	}
	if err != nil {
		return nil, fmt.Errorf("SQLITE_FILE: %w", err)
	}
	dir := filepath.Dir(path)
	err = accessible(dir, unix.W_OK|unix.X_OK)
	if missing && errors.Is(err, fs.ErrNotExist) && accessible(filepath.Dir(dir), unix.W_OK|unix.X_OK) == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("SQLITE_FILE: create files in %s: %w", dir, err)
	}
	if missing {
		return nil, nil
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := accessible(path+suffix, unix.R_OK|unix.W_OK)
		if err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("SQLITE_FILE: open %s: %w", path+suffix, err)
		}
	}
	r, err := NewReader(o)
	if err != nil {
		return nil, fmt.Errorf("SQLITE_FILE: %w", err)
	}
	defer r.Close()
	warnings, err = r.checkTable(ctx, expires)
	if err != nil {
		if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == lib.SQLITE_BUSY {
			return nil, fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, o.File, err)
		}
		return nil, fmt.Errorf("SQLITE_FILE: %s: %w", o.File, err)
	}
	return warnings, nil
}

// accessible returns an error if the user may not use a path in this mode.
func accessible(path string, mode uint32) error {
	return unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS)
}

// checkTable returns an error if the daemon cannot use the columns of the table, and a
// warning if it cannot delete old messages. A missing table is created by the first Save.
func (r *Reader) checkTable(ctx context.Context, expires bool) (warnings []string, err error) {
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	d := &database{conn: conn}
	all, err := d.readColumns(ctx, r.table)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	if _, _, err = d.insertStatement(r.table, all); err != nil || !expires {
		return nil, err
	}
	if _, err := d.canExpire(ctx, r.table); err != nil {
		warnings = append(warnings, "old messages cannot be deleted: "+err.Error())
	}
	return warnings, nil
}
