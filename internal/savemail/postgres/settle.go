package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/savemail"
)

// If the connection ends between a COMMIT and its reply, the store must settle the batch: find
// out whether it was committed. It knows the id of the transaction, xid, and asks a server
// for the state of this transaction, until the transaction has ended. One transaction reads
// the identity of the server, whether a row of the batch is visible, and then the state, so
// that all of them are of one server, also behind a connection pooler.
//
//  1. The identity of a cluster is its system identifier, which initdb generates and a standby
//     shares. Another cluster knows nothing about the batch.
//  2. On the same timeline, the server is the one that executed the transaction. It may have
//     been restarted since. pg_xact_status is "in progress" until the commit is durable here
//     and, as far as synchronous_commit promises it, on the standbys.
//  3. "aborted" and "in the future" are final: a commit is durable before it is visible, so
//     the server would know it after a crash as well.
//  4. "committed" is final if the server was not restarted since: the id is of this
//     transaction, even if a consumer has deleted its rows. After a crash, an id that was on
//     no disk may belong to another transaction. Then the row decides: if it is visible, the
//     batch is committed. If the row is missing, another transaction has the id, or a consumer
//     has deleted the row: this is unknown.
//  5. On a later timeline, the server was a standby that was promoted. It has another history,
//     in which the id may belong to another transaction. The row decides: it is there if the
//     replication has transferred it, and a missing row will never be there, since a promoted
//     server receives nothing from the old primary. An earlier timeline is an old primary,
//     which knows nothing about the later one.
//
// A committed transaction may have lost its wait for a synchronous standby by a crash or a
// cancelation. Therefore the store commits another transaction, whose commit waits for the
// standby, before it reports the batch as stored: its WAL follows that of the batch. A warning
// means that this wait was canceled too.
//
// A session whose client is gone may wait for the COMMIT that was never delivered. The store
// terminates the session with this xid, unless it waits for a standby: such a transaction is
// committed.

// A server identifies a server at a time.
type server struct {
	system   string // system identifier of the cluster
	timeline string // 8 hexadecimal digits
	start    string // of the server; it changes at a restart and after the crash of a process
}

// identity is the SQL of a server's columns. A crash resets the statistics.
const identity = `(SELECT system_identifier::text FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8),
	pg_postmaster_start_time()::text || (SELECT coalesce(stats_reset::text, '') FROM pg_stat_bgwriter)`

func (c *conn) readServer(ctx context.Context) (id server, err error) {
	if err = c.QueryRow(ctx, "SELECT "+identity).Scan(&id.system, &id.timeline, &id.start); err != nil {
		err = fmt.Errorf("identify the server: %w", err)
	}
	return id, err
}

// backgroundTime bounds the settling of a batch after the daemon has replied 451.
const backgroundTime = 10 * time.Minute

// terminateAfter is how long a session may be in the COMMIT before it is terminated.
const terminateAfter = time.Second

// Pauses between attempts to ask the server.
const (
	minRetry = 20 * time.Millisecond
	maxRetry = time.Second
)

// settle returns committed, lost if the batch is not stored and never will be, or unknown.
// Then a goroutine continues.
func (s *Store) settle(ctx context.Context, old server, xid string, hashes []string, cause error) (errorClass, error) {
	settling, cancel := context.WithTimeout(ctx, s.options.Timeout/3)
	defer cancel()
	class, err := s.awaitOutcome(settling, old, xid, hashes[0])
	switch class {
	case committed:
		return committed, nil
	case lost:
		return lost, cause
	}
	s.settling.Go(func(ctx context.Context) (outcome, reason error) {
		switch class, err := s.awaitOutcome(ctx, old, xid, hashes[0]); class {
		case committed:
			return nil, nil
		case lost:
			return savemail.ErrUnavailable, nil
		default:
			return savemail.ErrUnknown, err
		}
	}, "hashes", hashes)
	return unknown, errors.Join(cause, err)
}

// awaitOutcome asks servers until the batch is settled or ctx is done. The error is the reason
// why it is not settled.
func (s *Store) awaitOutcome(ctx context.Context, old server, xid, hash string) (errorClass, error) {
	begun := time.Now()
	for pause := minRetry; ; pause = min(2*pause, maxRetry) {
		class, err := s.askOutcome(ctx, old, xid, hash, time.Since(begun) > terminateAfter)
		if class != unknown {
			return class, nil
		}
		select {
		case <-ctx.Done():
			return unknown, err
		case <-time.After(pause):
		}
	}
}

// askOutcome asks one server. A single transaction reads all, so that a connection pooler
// cannot ask several servers.
func (s *Store) askOutcome(ctx context.Context, old server, xid, hash string, terminate bool) (errorClass, error) {
	ctx, cancel := context.WithTimeout(ctx, s.replyTimeout())
	defer cancel()
	warnings := 0
	c, err := pgx.ConnectConfig(ctx, s.configCounting(&warnings))
	if err != nil {
		return unknown, fmt.Errorf("connect to settle a commit: %w", oneLine{err})
	}
	defer func() { _ = c.Close(ctx) }()
	tx, err := c.BeginTx(ctx, writeTransaction)
	if err != nil {
		return unknown, fmt.Errorf("begin to settle a commit: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	var now server
	var found bool
	err = tx.QueryRow(ctx, "SELECT "+identity+", EXISTS(SELECT 1 FROM "+s.table.String()+" WHERE hash = $1)", hash).Scan(&now.system, &now.timeline, &now.start, &found)
	if err != nil {
		return unknown, fmt.Errorf("ask for a row: %w", err)
	}
	status, err := readStatus(ctx, tx, xid)
	if err != nil {
		return unknown, fmt.Errorf("ask for the outcome of a commit: %w", err)
	}
	class, err := judge(old, now, status, found)
	switch {
	case class == committed:
		if err := makeReplicated(ctx, tx, &warnings); err != nil {
			return unknown, fmt.Errorf("wait for the standby: %w", err)
		}
	case class == unknown && terminate && old.system == now.system && old.timeline == now.timeline:
		_, _ = tx.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE backend_xid = $1::text::xid8::xid AND usename = current_user AND wait_event IS DISTINCT FROM 'SyncRep'`, xid)
	}
	return class, err
}

// readStatus returns the state of a transaction, nil if it was too long ago.
func readStatus(ctx context.Context, tx pgx.Tx, xid string) (status *string, err error) {
	err = tx.QueryRow(ctx, "SELECT pg_xact_status($1::text::xid8)", xid).Scan(&status)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "22023" { // the id is in the future
		future := "aborted"
		return &future, nil
	}
	return status, err
}

// judge returns the outcome that the answer of a server proves. The error is the reason for
// unknown.
func judge(old, now server, status *string, found bool) (errorClass, error) {
	state := "unknown"
	if status != nil {
		state = *status
	}
	switch {
	case now.system != old.system:
		return unknown, errors.New("the server belongs to another cluster")
	case now.timeline < old.timeline:
		return unknown, errors.New("the server is a primary of an earlier timeline")
	case found:
		return committed, nil // a visible row is committed
	case now.timeline > old.timeline, state == "aborted":
		return lost, nil
	case state == "committed" && now.start == old.start:
		return committed, nil // and a consumer has deleted the row
	case state == "committed":
		return unknown, errors.New("the row is missing, and the server was restarted")
	}
	return unknown, fmt.Errorf("the transaction is %s", state)
}

// makeReplicated commits the transaction with an entry in the WAL, so that its commit waits
// for the synchronous standby. The connection counts its warnings in warnings.
func makeReplicated(ctx context.Context, tx pgx.Tx, warnings *int) error {
	_, err := tx.Exec(ctx, `SELECT set_config('client_min_messages', 'warning', true)
		UNION ALL SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
		UNION ALL SELECT pg_logical_emit_message(true, 'goguerrillad', '')::text`)
	*warnings = 0 // a login or a statement may have warned of something else
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err == nil && *warnings > 0 {
		err = errNotReplicated
	}
	return err
}
