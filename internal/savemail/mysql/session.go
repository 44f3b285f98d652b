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

// A setting is a variable of a session that has one value on every connection
// of ours, whatever the server's defaults and its init_connect are.
type setting struct {
	name, want string
	scope      scope
	need       need
	why        string
}

// A scope is which connections get a setting.
type scope uint8

const (
	ours scope = iota // those that run the statements of this package
	all               // those of GM_RECIPIENT_QUERY too, whose SQL is the operator's
)

// A need is what follows when a server refuses a setting.
type need uint8

const (
	should need = iota // a warning
	must               // the connection is not used: a 250 or an outcome could be wrong
)

// settings has the variables of MariaDB 11.8, MySQL 9 and TiDB 8 on which the
// outcome of a batch, or the result of a query, depends. A server has some of
// them. Left out, because nothing depends on them: sql_safe_updates (only
// INSERT and SELECT are sent), sql_auto_is_null (no query compares with NULL),
// innodb_snapshot_isolation (no read locks), and the waits for locks (an error
// that is retried).
var settings = []setting{
	{"sql_select_limit", "18446744073709551615", all, must, "the SELECT without a LIMIT returns all rows"},
	{"autocommit", "ON", all, must, "an INSERT commits; a SELECT reads the newest rows"},
	{"completion_type", "NO_CHAIN", all, must, "COMMIT opens no transaction, in which later INSERTs would wait for a COMMIT, and closes no connection"},
	{"character_set_client", "utf8mb4", all, must, "statements are UTF-8"},
	{"character_set_connection", "utf8mb4", all, must, "literals are UTF-8"},
	{"character_set_results", "utf8mb4", all, must, "rows are UTF-8"},
	{"sql_mode", "STRICT_ALL_TABLES", ours, must, "a value that does not fit is an error and never cut, an empty string is not NULL"},
	{"transaction_isolation", "REPEATABLE-READ", all, should, "no uncommitted rows are read; READ-COMMITTED fails with binlog_format=STATEMENT"},
	{"tx_isolation", "REPEATABLE-READ", all, should, "the name in MariaDB 10.11"},
	{"transaction_read_only", "OFF", ours, should, "INSERTs are allowed"},
	{"tx_read_only", "OFF", ours, should, "the name in MariaDB 10.11"},
	{"unique_checks", "ON", ours, should, "the operator's unique keys are checked, and a batch into an empty table is undone row by row"},
	{"foreign_key_checks", "ON", ours, should, "the operator's foreign keys are checked"},
	{"check_constraint_checks", "ON", ours, should, "MariaDB: the operator's constraints are checked"},
	{"sql_big_selects", "ON", ours, should, "max_join_size does not refuse a look-up"},
	{"max_statement_time", "0", ours, should, "MariaDB: a wait for a user lock is not cut short, so a lost session can be killed"},
	{"max_execution_time", "0", ours, should, "MySQL, TiDB: a wait for a user lock is not cut short"},
	{"query_cache_type", "OFF", all, should, "a SELECT reads the table"},
	{"system_versioning_asof", "DEFAULT", all, must, "MariaDB: a SELECT reads the present rows of a versioned table"},
	{"use_secondary_engine", "OFF", ours, should, "MySQL: a SELECT reads the table, not its copy in a secondary engine"},
	{"sql_log_bin", "ON", ours, should, "replicas receive the rows"},
	{"skip_replication", "OFF", ours, should, "MariaDB: replicas receive the rows"},
	{"wsrep_dirty_reads", "OFF", all, should, "a Galera node without a quorum does not return old rows"},
	{"tidb_snapshot", "", all, must, "TiDB: a SELECT reads the present rows"},
	{"tidb_read_staleness", "0", all, must, "TiDB: a SELECT reads the present rows"},
	{"tidb_low_resolution_tso", "OFF", all, must, "TiDB: a SELECT reads the present rows"},
	{"tidb_enable_external_ts_read", "OFF", all, must, "TiDB: a SELECT reads the present rows"},
	{"tidb_batch_insert", "OFF", ours, must, "TiDB: a statement is one transaction"},
	{"tidb_batch_commit", "OFF", ours, must, "TiDB: a statement is one transaction"},
	{"tidb_dml_batch_size", "0", ours, must, "TiDB: a statement is one transaction"},
	{"tidb_dml_type", "standard", ours, should, "a batch has the usual limits of size"},
}

// assignment is the statement that makes the setting. SET NAMES makes all three
// of the character sets: in MariaDB 11.8 a SET of only one gives literals and
// parameters different collations, which cannot be compared (error 1267).
func (s setting) assignment() string {
	if strings.HasPrefix(s.name, "character_set_") {
		return "SET NAMES " + s.want
	}
	value := s.want
	if _, err := strconv.ParseUint(value, 10, 64); err != nil && value != "DEFAULT" {
		value = "'" + value + "'"
	}
	return "SET SESSION " + s.name + "=" + value
}

// has reports whether a value that the server shows is the one wanted. 0 may be
// shown with a fraction, and is empty where TiDB only has the name.
func (s setting) has(value string) bool {
	if strings.EqualFold(value, s.want) {
		return true
	}
	got, err := strconv.ParseFloat(value, 64)
	return s.want == "0" && (value == "" || err == nil && got == 0)
}

// A connector connects to a host and makes the session's settings.
type connector struct {
	driver.Connector
	host  string
	scope scope // all: for GM_RECIPIENT_QUERY
	once  *once
}

func (k connector) Connect(ctx context.Context) (driver.Conn, error) {
	dc, err := connectFenced(ctx, k.Connector)
	if err != nil {
		return nil, err
	}
	if err := k.prepare(ctx, dc); err != nil {
		dc.Close()
		return nil, fmt.Errorf("set up the session: %w", err)
	}
	return dc, nil
}

// prepare makes the settings and ends a transaction that init_connect has left
// open.
func (k connector) prepare(ctx context.Context, dc driver.Conn) error {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.name
	}
	values, err := variables(ctx, dc, names...)
	if err != nil {
		return err
	}
	limit := settings[0] // cuts SHOW VARIABLES as well
	if value, shown := values[limit.name]; !shown || !limit.has(value) {
		if err := k.set(ctx, dc, limit, value); err != nil {
			return err
		}
		if values, err = variables(ctx, dc, names...); err != nil {
			return err
		}
	}
	var made string // SET NAMES is sent once
	for _, s := range settings[1:] {
		value, known := values[s.name]
		if !known || s.has(value) || s.scope < k.scope || s.assignment() == made {
			continue
		}
		if err := k.set(ctx, dc, s, value); err != nil {
			return err
		}
		made = s.assignment()
	}
	err = execute(ctx, dc, "ROLLBACK")
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok && e.Number == 1047 {
		return nil // a Galera node without a quorum: it writes nothing, but can be asked
	}
	return err
}

// set makes one setting. A server may refuse it, which is not always fatal.
func (k connector) set(ctx context.Context, dc driver.Conn, s setting, value string) error {
	err := execute(ctx, dc, s.assignment())
	if _, refused := errors.AsType[*mysql.MySQLError](err); refused && s.need == should {
		k.once.warn("MySQL session setting cannot be changed "+s.name, "MySQL session setting cannot be changed",
			"host", k.host, "setting", s.name, "value", value, "needed", s.want, "error", err)
		return nil
	}
	return err
}

func execute(ctx context.Context, dc driver.Conn, statement string) error {
	x, ok := dc.(driver.ExecerContext)
	if !ok {
		return driver.ErrSkip
	}
	if _, err := x.ExecContext(ctx, statement, nil); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// variables returns those variables of the session, and of the server where
// the session has none, that the server knows.
func variables(ctx context.Context, dc driver.Conn, names ...string) (map[string]string, error) {
	return show(ctx, dc, "SHOW VARIABLES WHERE Variable_name IN ('"+strings.Join(names, "','")+"')")
}

// show returns the rows of a SHOW statement, which are names and values.
func show(ctx context.Context, dc driver.Conn, statement string) (map[string]string, error) {
	q, ok := dc.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	rows, err := q.QueryContext(ctx, statement, nil)
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
		values[strings.ToLower(text(row[0]))] = text(row[1])
	}
}

// text is a value of the text protocol.
func text(v driver.Value) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

// once logs what an operator should know, one time each.
type once struct {
	log  *slog.Logger
	mu   sync.Mutex
	told map[string]bool
}

func newOnce(log *slog.Logger) *once { return &once{log: log, told: map[string]bool{}} }

// warn logs a message unless it did so for the same key.
func (o *once) warn(key, message string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.told[key] {
		o.told[key] = true
		o.log.Warn(message, args...)
	}
}
