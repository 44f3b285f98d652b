package recipient_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"

	"goguerrillad/internal/recipient"
)

var errLost = errors.New("connection lost")

// A script is a database that returns these errors and this number of rows.
type script struct {
	query, next, close error
	rows               int
}

func (s script) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (s script) Driver() driver.Driver                        { return nil }
func (s script) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not prepared") }
func (s script) Begin() (driver.Tx, error)                    { return nil, errors.New("no transaction") }
func (s script) Close() error                                 { return nil }

func (s script) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	if s.query != nil {
		return nil, s.query
	}
	return &scriptedRows{s}, nil
}

type scriptedRows struct{ script }

func (r *scriptedRows) Columns() []string { return []string{"1"} }
func (r *scriptedRows) Close() error      { return r.close }

func (r *scriptedRows) Next([]driver.Value) error {
	switch {
	case r.rows > 0:
		r.rows--
		return nil
	case r.next != nil:
		return r.next
	}
	return io.EOF
}

// TestFound: Found returns the error of each step. Without the error, the recipient
// would be refused permanently.
func TestFound(t *testing.T) {
	for _, tt := range []struct {
		name  string
		db    script
		found bool
		err   error
	}{
		{"no row", script{}, false, nil},
		{"a row", script{rows: 1}, true, nil},
		{"rows", script{rows: 3}, true, nil},
		{"the query fails", script{query: errLost}, false, errLost},
		{"the first row fails", script{next: errLost}, false, errLost},
		{"the end fails", script{close: errLost}, false, errLost},
		{"the end fails after a row", script{rows: 1, close: errLost}, false, errLost},
	} {
		db := sql.OpenDB(tt.db)
		found, err := recipient.Found(db.QueryContext(t.Context(), "SELECT"))
		if found != tt.found || !errors.Is(err, tt.err) || err != nil && tt.err == nil {
			t.Errorf("%s: got %v, error %v, want %v, error %v", tt.name, found, err, tt.found, tt.err)
		}
		db.Close()
	}
}
