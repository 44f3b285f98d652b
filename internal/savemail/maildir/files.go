package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

func (s Store) path(dir, name string) string { return filepath.Join(s.Dir, dir, name) }

// name is a file's: unlike any other, in the order of arrival, with the size
// that readers look for, and the hash to find it by. It has none of the
// characters that mean something in cur.
func name(e *envelope.Envelope, i int) string {
	return fmt.Sprintf("%010d.N%09dR%03d_%s.goguerrilla,S=%d",
		e.Date.Unix(), e.Date.Nanosecond(), i, e.To[i].Hash, e.BlobSize(i))
}

// makeDirs makes what is missing of the Maildir, durably.
func (s Store) makeDirs() error {
	for _, dir := range []string{s.Dir, s.path("tmp", ""), s.path("new", ""), s.path("cur", "")} {
		err := os.Mkdir(dir, 0o750)
		if errors.Is(err, fs.ErrExist) {
			continue
		} else if err == nil {
			err = syncDir(filepath.Dir(dir))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeSynced makes a file that is on the disk.
func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// unknown is the outcome of what has its name, and perhaps not for good.
func unknown(errs []error, why error) {
	for i, err := range errs {
		if err == nil {
			errs[i] = fmt.Errorf("%w: %w", savemail.ErrUnknown, why)
		}
	}
}

// syncDir makes new names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
