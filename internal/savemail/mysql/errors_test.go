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

// What an error of the driver says of the batch, in each phase: reading
// "unknown" where it should be "not stored" costs a repeated mail, the other
// way round it doubles one, or loses it.
func TestJudge(t *testing.T) {
	answer := func(number uint16, text string) error {
		return fmt.Errorf("wrapped: %w", &mysql.MySQLError{Number: number, Message: text})
	}
	all := func(v verdict) [3]verdict { return [3]verdict{v, v, v} }
	doubtful := [3]verdict{unavailable, unknown, unknown}
	for _, test := range []struct {
		name string
		err  error
		want [3]verdict // before, inInsert, inCommit
	}{
		{"no error", nil, all(committed)},
		{"dead connection", driver.ErrBadConn, all(notSent)},
		{"write timeout", &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, all(notSent)},
		{"dial", &net.OpError{Op: "dial", Err: errors.New("refused")}, all(notSent)},
		{"short write", io.ErrShortWrite, all(notSent)},
		{"read error", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, doubtful},
		{"connection lost", mysql.ErrInvalidConn, doubtful},
		{"deadline", context.DeadlineExceeded, doubtful},
		{"canceled", context.Canceled, doubtful},
		{"out of sync", mysql.ErrPktSync, doubtful},
		{"malformed packet", mysql.ErrMalformPkt, doubtful},
		{"anything", errors.New("x"), doubtful},
		{"packet too large for the driver", mysql.ErrPktTooLarge, all(rejected)},
		{"packet too large for the server", answer(1153, ""), all(rejected)},
		{"parameter too long", answer(1105, "Parameter of prepared statement ... 'max_allowed_packet' bytes"), all(rejected)},
		{"unknown error", answer(1105, "something"), doubtful},
		{"duplicate entry", answer(1062, ""), all(rejected)},
		{"mail_id used up", answer(1062, "Duplicate entry '2147483647' for key 'PRIMARY'"), all(unavailable)},
		{"NULL", answer(1048, ""), all(rejected)},
		{"constraint", answer(4025, ""), all(rejected)},
		{"trigger", answer(1644, ""), all(rejected)},
		{"no table", answer(1146, ""), all(mismatched)},
		{"no column", answer(1054, ""), all(mismatched)},
		{"too long", answer(1406, ""), all(mismatched)},
		{"character", answer(1366, ""), all(mismatched)},
		{"conversion in MariaDB", answer(1977, ""), all(mismatched)},
		{"conversion in MySQL", answer(3854, ""), all(mismatched)},
		{"deadlock", answer(1213, ""), all(conflict)},
		{"lock wait", answer(1205, ""), all(conflict)},
		{"too many connections", answer(1040, ""), all(unavailable)},
		{"access denied", answer(1045, ""), all(unavailable)},
		{"no right", answer(1142, ""), all(unavailable)},
		{"no default", answer(1364, ""), all(unavailable)},
		{"read only", answer(1290, ""), all(elsewhere)},
		{"read only transaction", answer(1792, ""), all(elsewhere)},
		{"read only engine", answer(1836, ""), all(elsewhere)},
		{"Galera without quorum", answer(1047, ""), [3]verdict{elsewhere, elsewhere, unknown}},
		{"KILL QUERY", answer(1317, ""), [3]verdict{conflict, conflict, unknown}},
		{"max_statement_time", answer(1969, ""), [3]verdict{conflict, conflict, unknown}},
		{"error during COMMIT", answer(1180, ""), doubtful},
		{"shutdown", answer(1053, ""), doubtful},
		{"connection killed", answer(1927, ""), doubtful},
		{"a number nobody has seen", answer(9999, ""), doubtful},
	} {
		for i, at := range []phase{before, inInsert, inCommit} {
			if got := judge(test.err, at); got != test.want[i] {
				t.Errorf("%s, phase %d: verdict %d, want %d", test.name, at, got, test.want[i])
			}
		}
	}
}

// TestRefusal: an error of the server is the query's own unless it refuses the
// connection or is busy: only then a second question may help.
func TestRefusal(t *testing.T) {
	others := []uint16{
		1040, 1044, 1045, 1049, 1129, 1130, 1203, 1226,
		1047, 1053, 1205, 1213, 1317, 1969, 3024,
	}
	for number := range uint16(10_000) {
		err := refusal(&mysql.MySQLError{Number: number})
		if got, want := errors.Is(err, recipient.ErrInvalid), !slices.Contains(others, number); got != want {
			t.Errorf("error %d is the query's own: %v, want %v", number, got, want)
		}
	}
	for _, err := range []error{nil, driver.ErrBadConn, context.DeadlineExceeded} {
		if got := refusal(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
