package mysql

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"goguerrillad/internal/savemail"
)

// If a connection ends between the statement that commits and its reply, the store
// must settle the batch: find out whether it was committed.
//
//  1. A lookup alone proves nothing: even after the connection has ended, the
//     server may still execute the statement.
//  2. Therefore each write connection holds a user lock with a random name. The
//     server releases the lock only when the session has ended and its
//     transaction was rolled back or durably committed.
//  3. After that, a lookup on the same server is final. One hash is sufficient,
//     because a batch is stored completely or not at all.
//
// The store settles a batch in five steps:
//
//  1. Connect to the same server: a free lock on another server proves nothing.
//  2. IS_USED_LOCK: if it is NULL, the session has ended, go to step 5.
//  3. GET_LOCK with a timeout of lockWait: most running statements end before it.
//  4. KILL the lock's holder and GET_LOCK again, until the lock is acquired.
//  5. Look up the hash. If the row exists, the batch is committed. If the row
//     does not exist, the batch will never be committed.
//
// MySQL's Group Replication certifies a transaction before it is in the member's
// binary log. A member that crashes in between lacks the row until it joins the
// group again, so a missing row is not final there.
//
// If a Galera node is unavailable, the other nodes may have the row: see galera.go.
//
// The store looks up no row while the session holds the lock, since a visible row
// may not be durable yet. If a batch is not settled before the deadline, its
// outcome is unknown, and the store does not send it again, since it could then be
// stored twice.
//
// A consumer that deletes the row before step 5 hides the commit, and the store
// sends the batch again with the same hashes. Nothing that an ordinary user can
// read in the server distinguishes a deleted row from a row that was never
// committed:
//
//   - AUTO_INCREMENT has a gap in both cases, since a rollback also leaves a gap.
//   - GTIDs, binary log positions and status counters change with the
//     transactions of all users, and require a binary log or a privilege.
//   - The session's state (LAST_INSERT_ID, ROW_COUNT, last_gtid) ends with the
//     session.
//   - A lock that blocks the consumer ends with the commit.
//   - Deleted rows stay in InnoDB until they are purged, but no SQL reads them.
//   - XA PREPARE is exact, but costs each batch a round trip and an fsync.
//   - A table of outcomes is exact, but the operator must clean it up.
//
// Therefore consumers must follow a rule (docs/operating.md): they delete a row
// only when GSMTP_TIMEOUT has passed since its date, or they ignore hashes that
// they have processed. The rule is sufficient because Save looks up and sends a
// batch again only within Options.Timeout, which is shorter, and the date is the
// server's time of the INSERT.

// backgroundTime bounds the settling of a batch after the daemon has replied 451.
const backgroundTime = time.Hour

// settleTimeSeveralHosts bounds settling if there are several hosts. A server can
// restart within this time.
const settleTimeSeveralHosts = 5 * time.Second

// settleTimeGalera bounds settling in a Galera cluster. By default the nodes need
// 5 s to exclude a lost node, and do not store messages before that.
const settleTimeGalera = 8 * time.Second

// Pauses between attempts to reach the server.
const (
	minRetry = 50 * time.Millisecond
	maxRetry = time.Second
)

// A sessionID identifies a session whose connection is lost.
type sessionID struct {
	lock   string // name of the session's user lock, "" if an outcome cannot be settled
	server serverID
	view   view // of the server's cluster
}

// A serverID distinguishes servers behind the same address.
type serverID struct{ hostname, port, uid, node, group string }

// newLockName returns a random name that no other session uses.
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
	absent                // not stored, and never will be
)

// settle determines whether the statements of a lost connection were committed. The
// error is nil if they were committed, and ErrUnavailable, with retry, if they were
// not. If the time is too short, the error is ErrUnknown, and a goroutine continues.
func (s *Store) settle(ctx context.Context, c *conn, statements [][]batchRow, cause error) (retry bool, err error) {
	s.discardLost(c, cause) // the server may still execute the statements
	if c.session.lock == "" {
		return false, fmt.Errorf("%w: %s: %w", savemail.ErrUnknown, c.host, cause)
	}
	hashes := hashesOf(statements)
	// The writer saves nothing meanwhile, although another host may be healthy.
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
	host, session := c.host, c.session // without the memory of c
	s.settling.Go(func(ctx context.Context) (outcome, reason error) {
		switch state, err := s.findOutcome(ctx, host, session, hashes[0]); state {
		case stored:
			return nil, nil
		case absent: // or stored, and then deleted by a consumer
			return savemail.ErrUnavailable, nil
		default:
			return savemail.ErrUnknown, err
		}
	}, "host", host.name, "hashes", hashes)
	return false, fmt.Errorf("%w: %s: %w; %w", savemail.ErrUnknown, c.host, cause, err)
}

// findOutcome repeats the steps until the batch is settled or ctx is done. hash is
// the hash of one of its rows. The error is the reason why it is not settled.
func (s *Store) findOutcome(ctx context.Context, h *host, session sessionID, hash string) (commitState, error) {
	for pause := minRetry; ; pause = min(2*pause, maxRetry) {
		state, err := s.tryFindOutcome(ctx, h, session, hash)
		if state == absent && ctx.Err() != nil {
			state, err = unsettled, ctx.Err() // after the deadline a consumer may have deleted the row
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

// tryFindOutcome performs the steps once. If they do not settle the batch on a
// Galera node, it queries the other nodes.
func (s *Store) tryFindOutcome(ctx context.Context, h *host, session sessionID, hash string) (commitState, error) {
	state, lost, err := s.queryServer(ctx, h, session, hash)
	if state != unsettled || session.view.cluster == "" {
		return state, err
	}
	state, clusterErr := s.queryCluster(ctx, h, session, lost, hash)
	return state, errors.Join(err, clusterErr)
}

// queryServer performs the steps on the lost session's server. It also returns the
// state of the session.
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
	case session.server.group != "":
		return unsettled, sessionEnded, errors.New("look up the message: the row is missing, but the group may have it")
	}
	return absent, sessionEnded, nil
}

// connectForQuery connects without the setup that an INSERT requires. The timeout
// leaves time for the other hosts if this host hangs.
func (s *Store) connectForQuery(ctx context.Context, h *host) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dc, err := h.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &conn{Conn: dc, host: h}, nil
}

// serverIDOf returns the server's identity: server_uid (MariaDB) or server_uuid (MySQL).
func serverIDOf(variables map[string]string) serverID {
	return serverID{variables["hostname"], variables["port"],
		cmp.Or(variables["server_uid"], variables["server_uuid"]), variables["wsrep_node_name"], variables["group_replication_group_name"]}
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
