package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// An errorClass is the effect of an error on the batch. With every class except committed and
// unknown, no row of the batch is stored.
type errorClass uint8

const (
	committed   errorClass = iota
	unavailable            // the server cannot store messages now
	lost                   // the connection ended before the COMMIT was sent: retry with a new connection
	conflict               // the batch may succeed if it is sent again
	mismatched             // the columns may have changed: read them again, and retry if they have
	rejected               // the server does not accept the values
	unknown                // the batch may be committed
)

// errNoRight is insufficient_privilege.
const errNoRight = "42501"

// classify returns the class of an error with which the server rolls back, by its SQLSTATE
// (PostgreSQL's manual, appendix A).
func classify(err error) errorClass {
	if errors.Is(err, errSkipped) {
		return rejected
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return lost
	}
	switch class := e.Code[:min(len(e.Code), 2)]; {
	case slices.Contains([]string{"57P01", "57P02", "57P03", "25006", "57P05", "25P03", "26000"}, e.Code):
		return lost // the server stops, has crashed, starts, or became a standby; a time limit of the session; a prepared statement is missing
	case class == "40", e.Code == "55P03":
		return conflict // serialization, deadlock, lock
	case class == "42" && e.Code != errNoRight, e.Code == "0A000", class == "22", e.Code == "23502":
		return mismatched // a cached plan whose result has changed is 0A000
	case class == "23", class == "P0", e.Code == "54000":
		return rejected // constraints, a trigger's exception, a limit of the program
	case strings.HasPrefix(class, "08"):
		return lost
	}
	return unavailable
}

// isDataError reports whether the server rejected a value because of its characters or its
// length.
func isDataError(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(e.Code, "22")
}
