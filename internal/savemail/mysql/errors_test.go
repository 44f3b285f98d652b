package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/recipient"
)

// TestClassify classifies errors in each phase. If an unknown outcome has another
// class, a message is lost or stored twice. If a known outcome has the class
// unknown, the sender repeats a message without need.
func TestClassify(t *testing.T) {
	serverError := func(number uint16, text string) error {
		return fmt.Errorf("wrapped: %w", &mysql.MySQLError{Number: number, Message: text})
	}
	always := func(v errorClass) [3]errorClass { return [3]errorClass{v, v, v} }
	lost := [3]errorClass{unavailable, unknown, unknown}
	for _, test := range []struct {
		name string
		err  error
		want [3]errorClass // beforeCommit, inInsert, inCommit
	}{
		{"no error", nil, always(committed)},
		{"dead connection", driver.ErrBadConn, always(notSent)},
		{"write timeout", &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, always(notSent)},
		{"dial error", &net.OpError{Op: "dial", Err: errors.New("refused")}, always(notSent)},
		{"short write", io.ErrShortWrite, always(notSent)},
		{"read error", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, lost},
		{"connection lost", mysql.ErrInvalidConn, lost},
		{"deadline", context.DeadlineExceeded, lost},
		{"canceled", context.Canceled, lost},
		{"out of sync", mysql.ErrPktSync, lost},
		{"malformed packet", mysql.ErrMalformPkt, lost},
		{"other error", errors.New("x"), lost},
		{"packet too large for the driver", mysql.ErrPktTooLarge, always(rejected)},
		{"packet too large for the server", serverError(1153, ""), always(rejected)},
		{"parameter too long", serverError(1105, "Parameter of prepared statement ... 'max_allowed_packet' bytes"), always(rejected)},
		{"unknown error", serverError(1105, "something"), lost},
		{"duplicate entry", serverError(1062, ""), always(rejected)},
		{"no mail_id left", serverError(1062, "Duplicate entry '2147483647' for key 'PRIMARY'"), always(unavailable)},
		{"column is NULL", serverError(1048, ""), always(rejected)},
		{"constraint", serverError(4025, ""), always(rejected)},
		{"trigger", serverError(1644, ""), always(rejected)},
		{"no table", serverError(1146, ""), always(mismatched)},
		{"no column", serverError(1054, ""), always(mismatched)},
		{"value too long", serverError(1406, ""), always(mismatched)},
		{"incorrect character", serverError(1366, ""), always(mismatched)},
		{"conversion in MariaDB", serverError(1977, ""), always(mismatched)},
		{"conversion in MySQL", serverError(3854, ""), always(mismatched)},
		{"number too large", serverError(1264, ""), always(mismatched)},
		{"incorrect date", serverError(1292, ""), always(mismatched)},
		{"generated in MariaDB", serverError(1906, ""), always(mismatched)},
		{"generated in MySQL", serverError(3105, ""), always(mismatched)},
		{"deadlock", serverError(1213, ""), always(conflict)},
		{"lock wait", serverError(1205, ""), always(conflict)},
		{"too many connections", serverError(1040, ""), always(unavailable)},
		{"access denied", serverError(1045, ""), always(unavailable)},
		{"no right", serverError(1142, ""), always(unavailable)},
		{"no default", serverError(1364, ""), always(mismatched)},
		{"read only", serverError(1290, ""), always(notWritable)},
		{"read only transaction", serverError(1792, ""), always(notWritable)},
		{"read only engine", serverError(1836, ""), always(notWritable)},
		{"Galera without quorum", serverError(1047, ""), [3]errorClass{notWritable, notWritable, unknown}},
		{"KILL QUERY", serverError(1317, ""), [3]errorClass{conflict, conflict, unknown}},
		{"max_statement_time", serverError(1969, ""), [3]errorClass{conflict, conflict, unknown}},
		{"error in COMMIT", serverError(1180, ""), lost},
		{"shutdown", serverError(1053, ""), lost},
		{"connection killed", serverError(1927, ""), lost},
		{"unlisted error", serverError(9999, ""), lost},
	} {
		for i, at := range []phase{beforeCommit, inInsert, inCommit} {
			if got := classify(test.err, at); got != test.want[i] {
				t.Errorf("%s, phase %d: class %d, want %d", test.name, at, got, test.want[i])
			}
		}
	}
}

// TestQueryError: every error of the server is ErrInvalid, except the errors that
// refuse a connection or are temporary.
func TestQueryError(t *testing.T) {
	exceptions := []uint16{
		1040, 1044, 1045, 1049, 1129, 1130, 1203, 1226,
		1047, 1053, 1205, 1213, 1317, 1969, 3024,
	}
	for number := range uint16(10_000) {
		err := queryError(&mysql.MySQLError{Number: number})
		if got, want := errors.Is(err, recipient.ErrInvalid), !slices.Contains(exceptions, number); got != want {
			t.Errorf("error %d: ErrInvalid is %v, want %v", number, got, want)
		}
	}
	for _, err := range []error{nil, driver.ErrBadConn, context.DeadlineExceeded} {
		if got := queryError(err); got != err {
			t.Errorf("queryError(%v) = %v", err, got)
		}
	}
}
