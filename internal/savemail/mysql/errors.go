package mysql

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/savemail"
)

// A verdict is what an error says of the batch. All but committed and unknown
// mean that nothing of it is stored.
type verdict uint8

const (
	committed   verdict = iota
	unavailable         // the server cannot take mail now; another one may
	elsewhere           // the same, as trying it shows
	notSent             // the connection was dead before a whole statement had left
	conflict            // with another transaction, or ended from outside: try again
	mismatched          // the table may not be what it was: look, and try again if so
	rejected            // the values
	unknown             // nobody has said
)

// A phase is where in a batch an error came up.
type phase uint8

const (
	before   phase = iota // the statement that decides: nothing can be committed
	inInsert              // the INSERT in autocommit, which decides
	inCommit              // the COMMIT, which decides
)

// judge reads an error of the driver. Only what is listed is sure; any other
// answer to a statement that decides leaves the outcome unknown.
func judge(err error, at phase) verdict {
	if err == nil {
		return committed
	}
	if answer, ok := errors.AsType[*mysql.MySQLError](err); ok {
		if v, sure := judgeAnswer(answer, at); sure {
			return v
		}
	} else if neverLeft(err) {
		return notSent
	} else if errors.Is(err, mysql.ErrPktTooLarge) || errors.Is(err, savemail.ErrRejected) {
		return rejected
	}
	if at == before {
		return unavailable
	}
	return unknown
}

// neverLeft reports whether the driver could not write the whole packet: what
// the server has not got, it has not executed.
func neverLeft(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrShortWrite) {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "write" || op.Op == "dial")
}

// judgeAnswer reads the server's error number. MySQL's, MariaDB's and TiDB's
// own lists of errors say what they mean.
func judgeAnswer(e *mysql.MySQLError, at phase) (v verdict, sure bool) {
	switch e.Number {
	case 1205, // lock wait timeout
		1213, // deadlock; in Galera also at COMMIT, where certification failed
		8022, // TiDB: a conflict after which the transaction may be tried again
		9007: // TiDB: write conflict
		return conflict, true

	case 8028, // TiDB: the table was changed meanwhile
		8113, // the same, in a way that the statement does not survive
		1054, // unknown column
		1146, // no such table
		1265, // data truncated
		1300, // invalid character string
		1366, // incorrect value, a character that the column's set lacks among them
		1406, // data too long
		1977, // MariaDB: a character that cannot be converted
		3854: // MySQL: a character that cannot be converted
		return mismatched, true

	case 1062: // duplicate entry: in a key of the operator's, or mail_id is used up
		if strings.Contains(e.Message, "PRIMARY") {
			return unavailable, true
		}
		return rejected, true
	case 1048, // a column cannot be NULL
		1153, // packet too large
		1264, // out of range
		1292, // incorrect value
		1644, // SIGNAL, from a trigger of the operator's
		3819, // CHECK constraint, MySQL
		4025, // CHECK constraint, MariaDB
		8004, // TiDB: transaction too large
		8025: // TiDB: row too large
		return rejected, true
	case 1105: // unknown error, and the one for a parameter that is too long
		return rejected, strings.Contains(e.Message, "max_allowed_packet")

	case 167, 1467, // mail_id is used up
		1021,       // disk full
		1040,       // too many connections
		1044, 1045, // access denied
		1049,       // unknown database
		1114,       // table full
		1142, 1143, // no right on the table, on a column
		1203, 1226, // limits of the user
		1227, // no privilege
		1364: // a column of the operator's without default
		return unavailable, true

	case 1290, 1792, 1836: // read only; as COMMIT's answer it was rolled back
		return elsewhere, true
	case 1047: // a Galera node without its cluster
		return elsewhere, at != inCommit
	case 1317, // KILL QUERY
		1969: // max_statement_time
		return conflict, at != inCommit
	}
	return unknown, false
}

// isDataError reports whether the table rejected a value for its characters or its
// length.
func isDataError(err error) bool {
	answer, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok || !errors.Is(err, savemail.ErrRejected) {
		return false
	}
	v, _ := judgeAnswer(answer, before)
	return v == mismatched
}

// refused is the verdict on a mismatch when the table is what it was.
func refused(err error) verdict {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch e.Number {
		case 8028, 8113:
			return conflict
		case 1054, 1146:
			return unavailable
		}
	}
	return rejected
}
