package mysql

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/savemail"
)

// The connection ended between a statement that commits and its reply. Was the
// batch committed?
//
//  1. A lookup of the row alone proves nothing: the server may still execute
//     what it has read, whether the connection is closed or not.
//  2. So each write connection holds a user lock with a random name. The server
//     releases the lock only when the session has ended and its transaction was
//     rolled back or durably committed.
//  3. After that, one lookup on the same server is final. One hash stands for
//     the whole batch, because a batch is stored completely or not at all.
//
// The steps are:
//
//  1. Connect to the same server: a free lock on another server proves nothing.
//  2. IS_USED_LOCK: if it is NULL, the session has ended, go to step 5.
//  3. GET_LOCK with a wait of lockWait: most running statements commit in it.
//  4. KILL the lock's holder and GET_LOCK again, until the lock is acquired.
//  5. Look up the hash. If the row exists, the batch is committed. If it does
//     not exist, the batch never will be.
//
// In a Galera cluster the other nodes may have the outcome when the server is
// unavailable: see galera.go.
//
// Nothing is looked up while the session holds the lock: a row that is visible
// then may not be durable. A batch that is not settled before the deadline is
// unknown. It is not sent again, because it could be stored twice.
//
// A consumer that deletes the row before step 5 hides the commit, and the batch
// is sent again with the same hashes. Nothing in the server that an ordinary
// user can read distinguishes such a row from a row that was never committed:
//
//   - AUTO_INCREMENT has a gap in both cases, since a rollback also leaves one.
//   - GTIDs, binary log positions and status counters change with the
//     transactions of all users, and need a binary log or a privilege.
//   - The session's state (LAST_INSERT_ID, ROW_COUNT, last_gtid) ends with the
//     session.
//   - A lock that blocks the consumer ends with the commit in question.
//   - Deleted rows stay in InnoDB until they are purged, but no SQL reads them.
//   - XA PREPARE and a row in a table of outcomes are exact. They cost each
//     batch a round trip and an fsync, or the operator a table to clean up.
//
// So there is a rule for consumers (docs/operating.md): they delete a row only
// when GSMTP_TIMEOUT has passed since its date, or they ignore hashes that they
// have processed. It suffices because Save looks up and sends again only within
// Options.Timeout, which is shorter, and the date is the server's time of the
// INSERT.

// Waits for the lock. Each must end before the driver's ReadTimeout.
const (
	lockWait = time.Second     // for a session that was not killed
	killWait = 2 * time.Second // for a session that was killed
)

// settleTimeSeveralHosts bounds settling while another host may be healthy. A
// server that restarts is available again within it.
const settleTimeSeveralHosts = 5 * time.Second

// settleTimeGalera bounds settling in a Galera cluster. By default its nodes
// need 5 s to exclude a lost node, and store no message before that.
const settleTimeGalera = 8 * time.Second

// Pauses between attempts to reach the server.
const (
	minRetry = 50 * time.Millisecond
	maxRetry = time.Second
)

// A sessionID identifies a session after its connection is lost.
type sessionID struct {
	lock   string // name of the user lock that the session holds, "" if it cannot be settled
	server serverID
	view   view // of the server's cluster
}

// A serverID distinguishes servers behind the same address.
type serverID struct{ hostname, port, uid, node string }

// newLockName returns a random name, which no other session uses.
func newLockName() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return "gg:" + hex.EncodeToString(b[:])
}

// A commitState is the state of a batch whose connection was lost.
type commitState uint8

const (
	unsettled commitState = iota
	stored                // durably
	absent                // finally not stored
)

// settle determines whether statements with a lost connection were committed.
// It returns nil if they were. If they were not, retry is true and the error
// is ErrUnavailable. Otherwise the error is ErrUnknown, and a goroutine
// continues to settle them.
func (s *Store) settle(ctx context.Context, c *conn, statements [][]batchRow, cause error) (retry bool, err error) {
	s.discardLost(c, cause) // the server may still execute the statements
	hashes := hashesOf(statements)
	if c.session.lock == "" {
		return false, fmt.Errorf("%w: %s: %w", savemail.ErrUnknown, c.host, cause)
	}
	// Other messages wait for this writer, and another host may be healthy.
	limit := s.options.Timeout / 3
	switch {
	case len(s.hosts) == 1:
	case c.session.view.cluster != "":
		limit = min(limit, settleTimeGalera)
	default:
		limit = min(limit, settleTimeSeveralHosts)
	}
	settling, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	state, err := s.findOutcome(settling, c.host, c.session, hashes[0])
	switch state {
	case stored:
		return false, nil
	case absent:
		return true, fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, c.host, cause)
	}
	s.settleInBackground(c.host, c.session, hashes)
	return false, fmt.Errorf("%w: %s: %w; %w", savemail.ErrUnknown, c.host, cause, err)
}

// findOutcome repeats the steps until the batch that has a row with the hash is
// settled, or ctx is done. The error states why the batch is not settled.
func (s *Store) findOutcome(ctx context.Context, h *host, session sessionID, hash string) (commitState, error) {
	for pause := minRetry; ; pause = min(2*pause, maxRetry) {
		state, err := s.tryFindOutcome(ctx, h, session, hash)
		if state == absent && ctx.Err() != nil {
			state, err = unsettled, ctx.Err() // a consumer may have deleted the row
		}
		if state != unsettled {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return unsettled, err
		case <-time.After(pause):
		}
	}
}

// tryFindOutcome performs the steps once. If a Galera node cannot be reached or
// has lost its cluster, it queries the other nodes.
func (s *Store) tryFindOutcome(ctx context.Context, h *host, session sessionID, hash string) (commitState, error) {
	state, lost, err := s.queryServer(ctx, h, session, hash)
	if state != unsettled || session.view.cluster == "" {
		return state, err
	}
	state, clusterErr := s.queryCluster(ctx, h, session, lost, hash)
	return state, errors.Join(err, clusterErr)
}

// queryServer performs the steps on the lost session's server.
func (s *Store) queryServer(ctx context.Context, h *host, session sessionID, hash string) (commitState, sessionState, error) {
	c, err := s.connectForQuery(ctx, h)
	if err != nil {
		return unsettled, stateOf(err), err
	}
	defer c.destroy() // releases the lock
	variables, err := c.readVariables(ctx)
	if err != nil {
		return unsettled, sessionUnknown, err
	}
	if id := serverIDOf(variables); id != session.server {
		return unsettled, sessionUnknown, fmt.Errorf("find the lost session: the server is %v, not %v", id, session.server)
	}
	if err := c.awaitSessionEnd(ctx, session.lock, s.options.replyTimeout()); err != nil {
		return unsettled, sessionUnknown, err
	}
	v, err := c.readView(ctx)
	if err == nil && session.view.cluster != "" && !v.primary {
		err = errors.New("the node has lost its cluster")
	}
	if err != nil {
		return unsettled, sessionEnded, err
	}
	found, err := c.hasRow(ctx, s, v, hash)
	switch {
	case err != nil:
		return unsettled, sessionEnded, err
	case found:
		return stored, sessionEnded, nil
	}
	return absent, sessionEnded, nil
}

// connectForQuery connects without the setup that INSERTs need.
func (s *Store) connectForQuery(ctx context.Context, h *host) (*conn, error) {
	// A host that hangs must leave time for the other hosts.
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dc, err := h.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &conn{Conn: dc, host: h}, nil
}

// awaitSessionEnd returns nil when the session that held the lock has ended. It
// kills the session after lockWait.
func (c *conn) awaitSessionEnd(ctx context.Context, lock string, replyTimeout time.Duration) error {
	holder, err := c.lockHolder(ctx, lock)
	if err != nil || holder == 0 {
		return err
	}
	got, err := c.getLock(ctx, lock, min(lockWait, replyTimeout/2))
	for err == nil && !got {
		// The holder's id is read before each KILL, because servers reuse ids.
		if holder, err = c.lockHolder(ctx, lock); err != nil || holder == 0 {
			return err
		}
		if err = c.killSession(ctx, holder); err != nil {
			return err
		}
		got, err = c.getLock(ctx, lock, min(killWait, replyTimeout/2))
	}
	return err
}

// lockHolder returns the id of the session that holds the lock, 0 if no session
// holds it.
func (c *conn) lockHolder(ctx context.Context, lock string) (int64, error) {
	var id sql.NullInt64
	if err := c.QueryRowContext(ctx, "SELECT IS_USED_LOCK("+literal(lock)+")").Scan(&id); err != nil {
		return 0, fmt.Errorf("find the lost session: %w", err)
	}
	return id.Int64, nil
}

// getLock waits for a user lock and reports whether it was acquired.
func (c *conn) getLock(ctx context.Context, name string, wait time.Duration) (bool, error) {
	var got sql.NullInt64 // NULL means an error of the server
	if err := c.QueryRowContext(ctx, fmt.Sprintf("SELECT GET_LOCK(%s,%f)", literal(name), wait.Seconds())).Scan(&got); err != nil {
		return false, fmt.Errorf("wait for the end of the session: %w", err)
	}
	return got.Int64 == 1, nil
}

// errNoSuchThread is KILL's error for a session that does not exist.
const errNoSuchThread = 1094

// killSession kills a session of the store's user, which needs no privilege.
func (c *conn) killSession(ctx context.Context, id int64) error {
	_, err := c.ExecContext(ctx, fmt.Sprintf("KILL %d", id))
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch e.Number {
		case errNoSuchThread, // the session has just ended
			1047: // a Galera node that has lost its cluster kills no session
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("kill the lost session: %w", err)
	}
	return nil
}

// serverIDOf returns the server's identity. MariaDB has server_uid, MySQL has
// server_uuid.
func serverIDOf(variables map[string]string) serverID {
	return serverID{variables["hostname"], variables["port"],
		cmp.Or(variables["server_uid"], variables["server_uuid"]), variables["wsrep_node_name"]}
}

// hashesOf returns the hashes of the statements' rows.
func hashesOf(statements [][]batchRow) []string {
	var hashes []string
	for _, rows := range statements {
		for _, r := range rows {
			hashes = append(hashes, r.envelope.To[r.i].Hash)
		}
	}
	return hashes
}
