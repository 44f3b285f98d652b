package load

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"

	"goguerrillad/internal/test"
)

// Collect records the hashes of the rows in a table and deletes the rows, so that the
// table stays small. It also deletes the rows of other senders.
func (l *Load) Collect(t test.T, db *sql.DB, table string) {
	t.Helper()
	test.Await(t, nil, collectTime, "read and delete the rows", func() error {
		newest, rows, err := readHashes(db, table)
		if err != nil {
			return err
		}
		if _, err := db.Exec(fmt.Sprintf("DELETE FROM %s WHERE mail_id <= %d", table, newest)); err != nil {
			return fmt.Errorf("delete the rows: %w", err)
		}
		l.Add(rows)
		return nil
	})
}

// Replace replaces all recorded rows by rows, the hashes by sender.
func (l *Load) Replace(rows map[string][]string) {
	l.mu.Lock()
	clear(l.rows)
	l.mu.Unlock()
	l.Add(rows)
}

// Hashes returns the hashes of all rows of a table, by sender.
func Hashes(db *sql.DB, table string) (map[string][]string, error) {
	_, hashes, err := readHashes(db, table)
	return hashes, err
}

// Add records rows that the caller has read, as hashes by sender.
func (l *Load) Add(rows map[string][]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for from, hashes := range rows {
		if strings.HasSuffix(from, "@"+domain) {
			l.rows[from] = append(l.rows[from], hashes...)
		}
	}
}

// CollectMaildir is Collect for a Maildir, whose files must be complete.
func (l *Load) CollectMaildir(t test.T, dir string) {
	t.Helper()
	rows, paths, err := readMaildir(dir)
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		t.Fatalf("read the Maildir: %v", err)
	}
	l.Add(rows)
}

// MaildirHashes is Hashes for a Maildir. It returns an error if a file is incomplete, and
// the hashes of the complete files.
func MaildirHashes(dir string) (map[string][]string, error) {
	rows, _, err := readMaildir(dir)
	return rows, err
}

func readMaildir(dir string) (rows map[string][]string, paths []string, err error) {
	paths, err = filepath.Glob(filepath.Join(dir, "new", "*"))
	rows = make(map[string][]string)
	for _, path := range paths {
		text, failure := os.ReadFile(path)
		_, rest, _ := strings.Cut(filepath.Base(path), "_")
		hash, size, _ := strings.Cut(rest, ".goguerrilla,S=")
		if failure == nil && size != strconv.Itoa(len(text)) {
			failure = fmt.Errorf("%s has %d bytes", path, len(text))
		}
		if failure != nil {
			err = errors.Join(err, failure)
			continue
		}
		from, _, _ := strings.Cut(strings.TrimPrefix(string(text), "Return-Path: <"), ">")
		rows[from] = append(rows[from], hash)
	}
	return rows, paths, err
}

// readHashes returns the hashes of all rows by sender, and the mail_id of the newest row.
// If the table is damaged, it returns an error and the hashes before the damage.
func readHashes(db *sql.DB, table string) (newest int64, hashes map[string][]string, err error) {
	quote := "`"
	if _, postgres := db.Driver().(*stdlib.Driver); postgres {
		quote = `"`
	}
	found, err := db.Query("SELECT mail_id, " + quote + "from" + quote + ", hash FROM " + table)
	if err != nil {
		return 0, nil, fmt.Errorf("read the rows: %w", err)
	}
	defer found.Close()
	hashes = make(map[string][]string)
	for found.Next() {
		var id int64
		var from, hash string
		if err := found.Scan(&id, &from, &hash); err != nil {
			return 0, hashes, fmt.Errorf("read a row: %w", err)
		}
		newest = max(newest, id)
		hashes[from] = append(hashes[from], hash)
	}
	if err := found.Err(); err != nil {
		return 0, hashes, fmt.Errorf("read the rows: %w", err)
	}
	return newest, hashes, nil
}
