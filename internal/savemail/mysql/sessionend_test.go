package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// A step is the beginning of a statement that the server must receive, and the
// server's reply: one value or an error.
type step struct {
	statement string
	value     driver.Value
	err       error
}

// A scripted server expects the statements of its steps in order. It implements
// driver.Connector and its only connection.
type scripted struct {
	t     *testing.T
	steps []step
}

func (s *scripted) reply(statement string) step {
	s.t.Helper()
	if len(s.steps) == 0 || !strings.HasPrefix(statement, s.steps[0].statement) {
		s.t.Errorf("statement %q, want the steps %v", statement, s.steps)
		return step{err: errors.New("not in the script")}
	}
	next := s.steps[0]
	s.steps = s.steps[1:]
	return next
}

func (s *scripted) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (s *scripted) Driver() driver.Driver                        { return nil }
func (s *scripted) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not prepared") }
func (s *scripted) Begin() (driver.Tx, error)                    { return nil, errors.New("no transaction") }
func (s *scripted) Close() error                                 { return nil }
func (s *scripted) query(statement string) (*scriptedRow, error) {
	r := s.reply(statement)
	return &scriptedRow{value: r.value}, r.err
}

func (s *scripted) QueryContext(_ context.Context, statement string, _ []driver.NamedValue) (driver.Rows, error) {
	return s.query(statement)
}

func (s *scripted) ExecContext(_ context.Context, statement string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, s.reply(statement).err
}

type scriptedRow struct {
	value driver.Value
	read  bool
}

func (r *scriptedRow) Columns() []string { return []string{"value"} }
func (r *scriptedRow) Close() error      { return nil }

func (r *scriptedRow) Next(dest []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read, dest[0] = true, r.value
	return nil
}

// TestAwaitSessionEnd: awaitSessionEnd returns when the session's lock is free or
// acquired, and not before. It kills the session several times if necessary.
func TestAwaitSessionEnd(t *testing.T) {
	lost := errors.New("connection lost")
	holder := func(id driver.Value) step { return step{"SELECT IS_USED_LOCK(", id, nil} }
	lock := func(got driver.Value) step { return step{"SELECT GET_LOCK(", got, nil} }
	kill := func(id int64) step { return step{fmt.Sprintf("KILL %d", id), nil, nil} }
	for name, steps := range map[string][]step{
		"ended":                  {holder(nil)},
		"ends while waiting":     {holder(int64(7)), lock(int64(1))},
		"ends after the wait":    {holder(int64(7)), lock(int64(0)), holder(nil)},
		"killed":                 {holder(int64(7)), lock(int64(0)), holder(int64(7)), kill(7), lock(int64(1))},
		"killed twice":           {holder(int64(7)), lock(int64(0)), holder(int64(7)), kill(7), lock(int64(0)), holder(int64(7)), kill(7), lock(int64(1))},
		"GET_LOCK is NULL":       {holder(int64(7)), lock(nil), holder(int64(7)), kill(7), lock(nil), holder(nil)},
		"cannot read the holder": {{"SELECT IS_USED_LOCK(", nil, lost}},
		"cannot wait":            {holder(int64(7)), {"SELECT GET_LOCK(", nil, lost}},
		"cannot kill":            {holder(int64(7)), lock(int64(0)), holder(int64(7)), {"KILL 7", nil, lost}},
		"cannot wait after KILL": {holder(int64(7)), lock(int64(0)), holder(int64(7)), kill(7), {"SELECT GET_LOCK(", nil, lost}},
	} {
		t.Run(name, func(t *testing.T) {
			server := &scripted{t, steps}
			db := sql.OpenDB(server)
			defer db.Close()
			dc, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c := &conn{Conn: dc}
			err = c.awaitSessionEnd(t.Context(), "gg:1", time.Second)
			if want := strings.HasPrefix(name, "cannot"); errors.Is(err, lost) != want || (err != nil) != want {
				t.Errorf("error %v, want an error: %v", err, want)
			}
			if len(server.steps) > 0 {
				t.Errorf("returned %v without the steps %v", err, server.steps)
			}
		})
	}
}
