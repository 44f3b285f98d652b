package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// A setting is a session variable that must have the same value on every
// connection, whatever the server's defaults and init_connect are.
type setting struct {
	name, value string
	scope       scope
	need        requirement
}

// A scope is a set of connections to which a setting applies.
type scope uint8

const (
	storeConns scope = iota // connections that run only this package's statements
	allConns                // in addition, connections for GM_RECIPIENT_QUERY, which run the operator's SQL
)

// A requirement determines the reaction to a server that refuses a setting.
type requirement uint8

const (
	should requirement = iota // the log gets a warning
	must                      // the connection is not used, because a 250 or an outcome could be wrong
)

// settings has the variables of MariaDB 11.8, MySQL 9 and TiDB 8 on which the
// outcome of a batch or the result of a query depends. No server has all of
// them. These variables have no influence: sql_auto_is_null (no query compares with NULL),
// innodb_snapshot_isolation (no read locks), lock timeouts (errors are retried).
var settings = []setting{
	{"sql_select_limit", "18446744073709551615", allConns, must},   // the SELECT without a LIMIT returns all rows
	{"autocommit", "ON", allConns, must},                           // an INSERT commits; a SELECT reads the newest rows
	{"completion_type", "NO_CHAIN", allConns, must},                // COMMIT neither opens another transaction nor closes the connection
	{"character_set_client", "utf8mb4", allConns, must},            // statements are UTF-8
	{"character_set_connection", "utf8mb4", allConns, must},        // literals are UTF-8
	{"character_set_results", "utf8mb4", allConns, must},           // rows are UTF-8
	{"sql_mode", "STRICT_ALL_TABLES", storeConns, must},            // a value that does not fit is an error and is never cut; an empty string is not NULL
	{"transaction_isolation", "REPEATABLE-READ", allConns, should}, // a SELECT reads no uncommitted rows; READ-COMMITTED fails with binlog_format=STATEMENT
	{"tx_isolation", "REPEATABLE-READ", allConns, should},          // transaction_isolation in MariaDB 10.11
	{"transaction_read_only", "OFF", storeConns, should},           // INSERTs are allowed
	{"tx_read_only", "OFF", storeConns, should},                    // transaction_read_only in MariaDB 10.11
	{"unique_checks", "ON", storeConns, should},                    // the operator's unique keys are checked, and a batch into an empty table is undone row by row
	{"foreign_key_checks", "ON", storeConns, should},               // the operator's foreign keys are checked
	{"check_constraint_checks", "ON", storeConns, should},          // MariaDB: the operator's constraints are checked
	{"sql_big_selects", "ON", storeConns, should},                  // max_join_size does not refuse a lookup
	{"max_statement_time", "0", storeConns, should},                // MariaDB: GET_LOCK is not interrupted, so that settling can continue with KILL
	{"max_execution_time", "0", storeConns, should},                // MySQL, TiDB: GET_LOCK is not interrupted
	{"sql_safe_updates", "OFF", storeConns, should},                // a DELETE by a condition is allowed
	{"query_cache_type", "OFF", allConns, should},                  // a SELECT reads the table
	{"system_versioning_asof", "DEFAULT", allConns, must},          // MariaDB: a SELECT reads the current rows of a versioned table
	{"use_secondary_engine", "OFF", storeConns, should},            // MySQL: a SELECT reads the table, not its copy in a secondary engine
	{"sql_log_bin", "ON", storeConns, should},                      // replicas receive the rows
	{"skip_replication", "OFF", storeConns, should},                // MariaDB: replicas receive the rows
	{"wsrep_dirty_reads", "OFF", allConns, should},                 // a Galera node without a quorum does not return old rows
	{"tidb_snapshot", "", allConns, must},                          // TiDB: a SELECT reads the current rows
	{"tidb_read_staleness", "0", allConns, must},                   // TiDB: a SELECT reads the current rows
	{"tidb_low_resolution_tso", "OFF", allConns, must},             // TiDB: a SELECT reads the current rows
	{"tidb_enable_external_ts_read", "OFF", allConns, must},        // TiDB: a SELECT reads the current rows
	{"tidb_batch_insert", "OFF", storeConns, must},                 // TiDB: a statement is one transaction
	{"tidb_batch_commit", "OFF", storeConns, must},                 // TiDB: a statement is one transaction
	{"tidb_dml_batch_size", "0", storeConns, must},                 // TiDB: a statement is one transaction
	{"tidb_dml_type", "standard", storeConns, should},              // a batch has the usual size limits
}

// statement returns the statement that applies the setting. SET NAMES sets all
// three character sets. In MariaDB 11.8, if a statement sets only one of them,
// literals and parameters have different collations and cannot be compared
// (error 1267).
func (s setting) statement() string {
	if strings.HasPrefix(s.name, "character_set_") {
		return "SET NAMES " + s.value
	}
	value := s.value
	if _, err := strconv.ParseUint(value, 10, 64); err != nil && value != "DEFAULT" {
		value = "'" + value + "'"
	}
	return "SET SESSION " + s.name + "=" + value
}

// matches reports whether a value shown by the server equals the setting's
// value. A server may show 0 with a fraction, and TiDB may show it as "".
func (s setting) matches(value string) bool {
	if strings.EqualFold(value, s.value) {
		return true
	}
	got, err := strconv.ParseFloat(value, 64)
	return s.value == "0" && (value == "" || err == nil && got == 0)
}

// A connector connects to a host and applies the settings.
type connector struct {
	driver.Connector
	host    string
	scope   scope // allConns if the connections run GM_RECIPIENT_QUERY
	onceLog *onceLogger
}

func (k connector) Connect(ctx context.Context) (driver.Conn, error) {
	dc, err := connectSafely(ctx, k.Connector)
	if err != nil {
		return nil, err
	}
	if err := k.applySettings(ctx, dc); err != nil {
		dc.Close()
		return nil, fmt.Errorf("set up the session: %w", err)
	}
	return dc, nil
}

// applySettings corrects the session's settings, and ends a transaction that
// init_connect has left open.
func (k connector) applySettings(ctx context.Context, dc *safeConn) error {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.name
	}
	values, err := showVariables(ctx, dc, names...)
	if err != nil {
		return err
	}
	limit := settings[0] // sql_select_limit also limits the rows of SHOW VARIABLES
	if value, known := values[limit.name]; !known || !limit.matches(value) {
		if err := k.apply(ctx, dc, limit, value); err != nil {
			return err
		}
		if values, err = showVariables(ctx, dc, names...); err != nil {
			return err
		}
	}
	var previous string // SET NAMES is sent only once
	for _, s := range settings[1:] {
		value, known := values[s.name]
		if !known || s.matches(value) || s.scope < k.scope || s.statement() == previous {
			continue
		}
		if err := k.apply(ctx, dc, s, value); err != nil {
			return err
		}
		previous = s.statement()
	}
	err = execute(ctx, dc, "ROLLBACK")
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok && e.Number == 1047 {
		return nil // a Galera node without a quorum cannot write, but can read
	}
	return err
}

// apply applies a setting. If the server refuses it, apply returns an error for
// must, and logs a warning for should.
func (k connector) apply(ctx context.Context, dc *safeConn, s setting, value string) error {
	err := execute(ctx, dc, s.statement())
	if _, refused := errors.AsType[*mysql.MySQLError](err); refused && s.need == should {
		k.onceLog.warn("setting "+s.name, "MySQL session setting cannot be changed",
			"host", k.host, "setting", s.name, "value", value, "needed", s.value, "error", err)
		return nil
	}
	return err
}

func execute(ctx context.Context, dc *safeConn, statement string) error {
	if _, err := dc.ExecContext(ctx, statement, nil); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// showVariables returns the session's values of the named variables that the
// server has. For a variable without a session value it returns the global value.
func showVariables(ctx context.Context, dc *safeConn, names ...string) (map[string]string, error) {
	return show(ctx, dc, "SHOW VARIABLES WHERE Variable_name IN ('"+strings.Join(names, "','")+"')")
}

// show returns the rows of a SHOW statement as a map of lower-case names to
// values.
func show(ctx context.Context, dc *safeConn, statement string) (map[string]string, error) {
	rows, err := dc.QueryContext(ctx, statement, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", statement, err)
	}
	defer rows.Close()
	values := map[string]string{}
	for row := make([]driver.Value, 2); ; {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return values, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
		values[strings.ToLower(textValue(row[0]))] = textValue(row[1])
	}
}

// textValue converts a value of MySQL's text protocol.
func textValue(v driver.Value) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

// A onceLogger logs each warning once.
type onceLogger struct {
	log    *slog.Logger
	mu     sync.Mutex
	logged map[string]bool
}

func newOnceLogger(log *slog.Logger) *onceLogger {
	return &onceLogger{log: log, logged: map[string]bool{}}
}

// warn logs a warning unless it has logged a warning with this key before.
func (o *onceLogger) warn(key, message string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.logged[key] {
		o.logged[key] = true
		o.log.Warn(message, args...)
	}
}
