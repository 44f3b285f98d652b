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

// An errorClass is the effect of an error on the batch. With every class except
// committed and unknown, no row of the batch is stored.
type errorClass uint8

const (
	committed   errorClass = iota
	unavailable            // this server cannot store messages now, another host may
	notWritable            // unavailable for a reason that a probe detects
	notSent                // the connection ended before the whole statement was sent
	conflict               // another transaction, KILL QUERY or a time limit stopped the statement: retry
	mismatched             // the columns may have changed: read them again, and retry if they have
	rejected               // the server does not accept the values
	unknown                // the batch may be committed
)

// A phase is the step of a Save in which an error occurs. The statement that
// commits is an INSERT in autocommit mode, or the COMMIT of a transaction.
type phase uint8

const (
	beforeCommit phase = iota // before the statement that commits
	inInsert                  // during an INSERT in autocommit mode
	inCommit                  // during a COMMIT
)

// classify returns the class of an error of the driver. All errors of the
// statement that commits are unknown, unless they are listed below.
func classify(err error, at phase) errorClass {
	if err == nil {
		return committed
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		if class, certain := classifyServerError(e, at); certain {
			return class
		}
	} else if wasNotSent(err) {
		return notSent
	} else if errors.Is(err, mysql.ErrPktTooLarge) || errors.Is(err, savemail.ErrRejected) {
		return rejected
	}
	if at == beforeCommit {
		return unavailable
	}
	return unknown
}

// wasNotSent reports whether the driver could not write the whole packet. A
// server does not execute an incomplete packet.
func wasNotSent(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrShortWrite) {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "write" || op.Op == "dial")
}

// classifyServerError returns the class of an error that the server reported,
// according to the error lists of MySQL, MariaDB and TiDB. certain is false if the
// statement that commits may be committed despite the error.
func classifyServerError(e *mysql.MySQLError, at phase) (class errorClass, certain bool) {
	switch e.Number {
	case 1205, // lock wait timeout
		1213, // deadlock; in Galera also at COMMIT, where certification failed
		8022, // TiDB: conflict, the transaction may be retried
		9007: // TiDB: write conflict
		return conflict, true

	case 8028, // TiDB: the table was changed during the statement
		8113, // TiDB: the table was changed incompatibly with the statement
		1054, // unknown column
		1146, // no such table
		1264, // out of range
		1265, // data truncated
		1292, // incorrect value
		1300, // invalid character string
		errNoDefault,
		1366, // incorrect value, in particular a character that the column's set lacks
		1406, // data too long
		1416, // not a geometry
		1906, // MariaDB: a value for a generated column
		1977, // MariaDB: a character that cannot be converted
		3105, // MySQL: a value for a generated column
		3140, // MySQL: not JSON
		3854, // MySQL: a character that cannot be converted
		4078: // MariaDB: types that cannot be converted
		return mismatched, true

	case 1062: // duplicate entry: in PRIMARY no mail_id is left, else in an operator's key
		if strings.Contains(e.Message, "PRIMARY") {
			return unavailable, true
		}
		return rejected, true
	case 1048, // a column cannot be NULL
		1153, // packet too large
		1644, // SIGNAL, from an operator's trigger
		3819, // CHECK constraint, MySQL
		4025, // CHECK constraint, MariaDB
		8004, // TiDB: transaction too large
		8025: // TiDB: row too large
		return rejected, true
	case 1105: // unknown error, in particular a parameter that is too long
		return rejected, strings.Contains(e.Message, "max_allowed_packet")

	case 167, 1467, // no mail_id is left
		1021,       // disk full
		1040,       // too many connections
		1044, 1045, // access denied
		1049,       // unknown database
		1114,       // table full
		1142, 1143, // no right on the table, on a column
		1203, 1226, // limits of the user
		1227: // no privilege
		return unavailable, true

	case 1290, 1792, 1836: // read only; the server rolls back a transaction whose COMMIT fails with it
		return notWritable, true
	case 1047: // a Galera node that has lost its cluster
		return notWritable, at != inCommit
	case 1317, // KILL QUERY
		1969: // max_statement_time
		return conflict, at != inCommit
	}
	return unknown, false
}

// isDataError reports whether the server rejected a value because of its
// characters or its length, although the columns have not changed.
func isDataError(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok || !errors.Is(err, savemail.ErrRejected) {
		return false
	}
	switch e.Number {
	case 1265, 1300, 1366, 1406, 1977, 3854:
		return true
	}
	return false
}

// classifyMismatch returns the class of a mismatched error if the columns have
// not changed.
func classifyMismatch(err error) errorClass {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch e.Number {
		case 8028, 8113:
			return conflict
		case 1054, 1146, errNoDefault:
			return unavailable
		}
	}
	return rejected
}
