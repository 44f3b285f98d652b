package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"goguerrillad/internal/savemail"
)

const (
	connectTimeout = 3 * time.Second // of one host, unless the DSN has another one
	maxReply       = 16 << 20        // bytes of one message of the server to a writer
	minVersion     = 130000          // has pg_current_xact_id
)

// parseDSN parses the options of the connection. Its error has no text of the DSN, which
// may contain a password.
func parseDSN(o Options) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(o.DSN)
	if err != nil {
		return nil, errors.New(dsnMistake(err))
	}
	if config.Password == "" {
		config.Password = o.Pass
	}
	if started, err := user.Current(); err == nil && config.User == started.Username {
		// os/user, and so pgx's default, remembers the user who started the process.
		if now, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
			config.User = now.Username
		}
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = min(connectTimeout, o.Timeout/3)
	}
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite // whatever the DSN has
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "goguerrillad"
	}
	config.RuntimeParams["client_encoding"] = "UTF8"
	config.RuntimeParams["datestyle"] = "ISO" // the only one that pgx reads
	// Statements without a name, since the transactions of a connection may run in several
	// sessions behind PgBouncer.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	return config, nil
}

// dsnMistake returns what is wrong in a DSN. Only texts that contain no value of the DSN, except
// the name of a file or a service, are certain to contain no password.
func dsnMistake(err error) string {
	text := err.Error()
	for _, mistake := range []string{"failed to configure TLS", "failed to read service"} {
		if cause := errors.Unwrap(err); cause != nil && strings.HasSuffix(text, "`: "+mistake+" ("+cause.Error()+")") {
			return mistake + ": " + cause.Error()
		}
	}
	for _, mistake := range []string{"invalid port", "invalid connect_timeout", "unknown target_session_attrs value", "unknown channel_binding value"} {
		if strings.Contains(text, "`: "+mistake) {
			return mistake
		}
	}
	return "is neither a URI nor key=value of libpq"
}

// A conn is a connection of a writer. It must not be used concurrently.
type conn struct {
	*pgx.Conn
	server   server
	foreign  bool           // another server stores rows of the table
	pooled   bool           // a connection pooler may run each transaction in another session
	inserts  map[int]string // names of the prepared INSERTs for columns, by number of rows
	columns  *columns       // of inserts
	warnings int            // that the server has sent
	values   [][]byte       // of one statement, reused
	formats  []int16
	arena    []byte // copies of messages for one statement, reused
}

// destroy closes the connection without waiting for the server.
func (c *conn) destroy() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.Close(ctx) // no caller could handle an error
}

// connect connects to the first host that accepts writes, and prepares the session. If the
// connection ends during its setup, connect tries once more, because no row has been sent.
func (s *Store) connect(ctx context.Context) (*conn, error) {
	c, err := s.connectOnce(ctx)
	if errors.Is(err, errSetUp) && classify(err) == lost && !errors.Is(err, errNoStandby) && ctx.Err() == nil {
		c, err = s.connectOnce(ctx)
	}
	return c, err
}

// errSetUp means that a connection was made, and that its setup failed.
var errSetUp = errors.New("set up the session")

func (s *Store) connectOnce(ctx context.Context) (*conn, error) {
	c := &conn{inserts: map[int]string{}}
	config := s.configCounting(&c.warnings)
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(r, w)
		f.SetMaxBodyLen(maxReply)
		return f
	}
	var err error
	if c.Conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.replyTimeout())
	defer cancel()
	if err := c.setUp(ctx, s); err != nil {
		c.destroy()
		return nil, fmt.Errorf("%w: %w", errSetUp, err)
	}
	return c, nil
}

// configCounting returns the options of a connection that counts the warnings of the server.
func (s *Store) configCounting(warnings *int) *pgx.ConnConfig {
	config := s.config.Copy()
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			*warnings++
		}
	}
	return config
}

// setUp checks whether the session can store messages and settle their outcomes.
func (c *conn) setUp(ctx context.Context, s *Store) error {
	var pid uint32
	var version int
	err := c.QueryRow(ctx, "SELECT pg_backend_pid(), current_setting('server_version_num')::int").Scan(&pid, &version)
	if err != nil {
		return fmt.Errorf("read the version: %w", err)
	}
	if version < minVersion {
		return fmt.Errorf("%w: PostgreSQL %s, want 13 or later", errUnsuitable, c.PgConn().ParameterStatus("server_version"))
	}
	c.pooled = pid != c.PgConn().PID()
	if c.server, err = c.readServer(ctx); err != nil {
		return err
	}
	if err := c.readColumns(ctx, s); err != nil {
		return err
	}
	if err := c.tryInsert(ctx, s.table); err != nil {
		return err
	}
	if err := s.table.checkSequences(ctx, c); err != nil {
		return err
	}
	c.checkServer(ctx, s)
	return nil
}

// errUnsuitable means that only an operator can make the server usable.
var errUnsuitable = errors.New("unsuitable server")

// tryInsert runs an INSERT without a row in a transaction. Like an INSERT of a row, it fails if
// the user has no right, if the server is read-only, or if no synchronous standby is connected.
func (c *conn) tryInsert(ctx context.Context, t table) error {
	var standbys string
	err := pgx.BeginTxFunc(ctx, c.Conn, writeTransaction, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, t.emptyInsert(c.columns)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names')").Scan(&standbys)
	})
	switch {
	case err == nil && standbys == "":
		return nil
	case err == nil:
		return c.tryStandby(ctx, standbys)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && c.pooled && e.Code == "08P01" {
		return fmt.Errorf("%w: PgBouncer in the mode statement has no transactions, want pool_mode=transaction or session: %w", errUnsuitable, err)
	}
	return fmt.Errorf("try an INSERT without a row: %w", t.withGrant(ctx, c, err))
}

// errNoStandby means that a commit has waited for a synchronous standby without success.
var errNoStandby = errors.New("no synchronous standby confirms commits")

// tryStandby commits a transaction that waits for a standby as that of a message does. An INSERT
// without a row writes no WAL, so its commit does not wait.
func (c *conn) tryStandby(ctx context.Context, standbys string) error {
	tx, err := c.BeginTx(ctx, writeTransaction)
	if err == nil {
		err = makeReplicated(ctx, tx, &c.warnings)
	}
	if pgconn.Timeout(err) || errors.Is(err, errNotReplicated) {
		err = fmt.Errorf("%w: synchronous_standby_names is %s: %w", errNoStandby, standbys, err)
	}
	return err
}

// writeTransaction is independent of the defaults of the user and the database.
var writeTransaction = pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}

// acquire returns an idle or a new connection. After a failure it does not dial during a
// backoff of at most maxBackoff and returns the last error, so that not every message causes
// a dial.
func (s *Store) acquire(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%w: %w", savemail.ErrUnavailable, errClosed)
	}
	if n := len(s.idle); n > 0 {
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return c, nil
	}
	if time.Since(s.failedAt) < s.backoff {
		return nil, s.lastErr
	}
	s.mu.Unlock()
	c, err := s.connect(ctx)
	s.mu.Lock()
	if err == nil {
		s.backoff = 0
		return c, nil
	}
	err = fmt.Errorf("%w: %w", savemail.ErrUnavailable, oneLine{err})
	if ctx.Err() == nil {
		s.failedAt, s.lastErr = time.Now(), err
		s.backoff = min(max(2*s.backoff, 50*time.Millisecond), maxBackoff)
	}
	return nil, err
}

// oneLine is an error whose text has one line. pgx lists the hosts in lines, twice with
// sslmode=prefer.
type oneLine struct{ error }

func (e oneLine) Error() string {
	head, list, found := strings.Cut(e.error.Error(), ":\n\t")
	if !found {
		return strings.ReplaceAll(head, "\n\t", "; ")
	}
	var causes []string
	for cause := range strings.SplitSeq(list, "\n\t") {
		if !slices.Contains(causes, cause) {
			causes = append(causes, cause)
		}
	}
	return head + ": " + strings.Join(causes, "; ")
}

func (e oneLine) Unwrap() error { return e.error }

// finishUse returns a connection to the pool, or closes it after an error. The server rolls
// back a transaction whose connection ends.
func (s *Store) finishUse(c *conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.closed || len(s.idle) == maxIdle || c.IsClosed() || c.PgConn().TxStatus() != 'I' {
		c.destroy()
		return
	}
	s.idle = append(s.idle, c)
}

// discardIdle closes the idle connections, which may be lost as well.
func (s *Store) discardIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		c.destroy()
	}
	s.idle = nil
}
