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

// The connection ended between a statement that decides and its answer: was
// the batch committed?
//
// To ask for the row proves nothing, since the server may still be at work on
// what it has read, whether the connection is closed or not. So each write
// connection holds a user lock of a random name. The server frees it only when
// the session is over, its transaction rolled back or durably committed. Who
// then gets the lock, on the same server, sees with one look-up what became of
// the batch, for good: a batch is all or nothing, so one hash stands for it.
//
//  1. connect to the same server: a lock that is free on another says nothing
//  2. IS_USED_LOCK: NULL means that the session is over, go to 5
//  3. GET_LOCK with a little patience: what is in flight is mostly committed
//  4. KILL the holder and GET_LOCK again, until it is got
//  5. look for the hash: there, it is committed; not there, it never will be
//
// In a Galera cluster others may know when the server is gone: see galera.go.
//
// While the lock is held nothing is looked up: even a row that is seen is not
// durable before. What cannot be settled before the deadline is unknown: the
// batch must not be sent again, or it might be stored twice.
//
// A consumer that deletes the row before step 5 hides the commit, and the batch
// is sent again, with the same hashes. Nothing in the server that an ordinary
// user can read tells such a row from one that was never committed:
//
//   - AUTO_INCREMENT has a gap in both cases, since a rollback leaves one too.
//   - GTIDs, binary log positions and status counters move with the
//     transactions of all users, and need a binary log or a privilege.
//   - The session's own state (LAST_INSERT_ID, ROW_COUNT, last_gtid) ends with it.
//   - A lock that keeps the consumer away ends with the commit in question.
//   - Deleted rows stay in InnoDB until they are purged, but no SQL reads them.
//   - XA PREPARE, or a row in a table of outcomes, is exact. It costs each batch
//     a round trip and an fsync, or the operator a table that must be cleaned.
//
// So there is a rule for consumers (docs/operating.md): a row stays for
// GSMTP_TIMEOUT after its date, or a hash that was processed is ignored. In
// return Save ends within Options.Timeout, which is shorter: it looks up and
// sends again only before that, and the date is the server's time of the INSERT.

// Waits for the lock, each of which must end before readTimeout does.
const (
	patience     = time.Second     // for a session to end by itself
	killPatience = 2 * time.Second // for one that was killed
)

// settleBeforeMove is what is spent on settling while another host may be well,
// at most. A server that restarts is back within it.
const settleBeforeMove = 5 * time.Second

// settleWithOthers is the same in a Galera cluster, whose nodes take five
// seconds, by default, to exclude one of them, and take no mail until then.
const settleWithOthers = 8 * time.Second

// Pauses between attempts to reach the server.
const (
	minRetry = 50 * time.Millisecond
	maxRetry = time.Second
)

// mark is how a session is found when its connection is gone.
type mark struct {
	lock   string // the user lock that it holds
	server server
	view   view // the cluster that the server was in
}

// server is what tells one server from another behind the same address.
type server struct{ hostname, port, uid, node string }

// newLockName returns a name that nobody can guess or hold by chance.
func newLockName() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return "gg:" + hex.EncodeToString(b[:])
}

// A finding is what became of a batch.
type finding uint8

const (
	unsettled finding = iota
	stored            // durably
	absent            // and never will be there
)

// settle finds out what became of statements whose end nobody has told. It
// returns nil for stored; again, with the reason, for what may be sent once
// more; else ErrUnknown, and goes on asking by itself.
func (s *Store) settle(ctx context.Context, c *conn, statements [][]mailRow, cause error) (again bool, err error) {
	s.abandon(c, cause) // which stops nothing that the server has read
	hashes := hashesOf(statements)
	if c.mark.lock == "" {
		return false, fmt.Errorf("%w: %s: %w", savemail.ErrUnknown, c.host, cause)
	}
	// Other mail waits for the writer, and may have another host to go to.
	limit := s.options.Timeout / 3
	switch {
	case len(s.hosts) == 1:
	case c.mark.view.cluster != "":
		limit = min(limit, settleWithOthers)
	default:
		limit = min(limit, settleBeforeMove)
	}
	settling, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := s.resolve(settling, c.host, c.mark, hashes[0])
	switch found {
	case stored:
		return false, nil
	case absent:
		return true, fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, c.host, cause)
	}
	s.resolveLater(c.host, c.mark, hashes)
	return false, fmt.Errorf("%w: %s: %w; %w", savemail.ErrUnknown, c.host, cause, err)
}

// resolve asks until it is settled what became of the batch that has a row
// with the hash, or until ctx is done; the error says why it is not settled.
func (s *Store) resolve(ctx context.Context, h *host, m mark, hash string) (finding, error) {
	for retry := minRetry; ; retry = min(2*retry, maxRetry) {
		found, err := s.ask(ctx, h, m, hash)
		if found == absent && ctx.Err() != nil {
			found, err = unsettled, ctx.Err() // a consumer may have deleted it by now
		}
		if found != unsettled {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return unsettled, err
		case <-time.After(retry):
		}
	}
}

// ask goes through the steps once. A node of a cluster that cannot be asked,
// or has lost its cluster, may be spoken for by the others.
func (s *Store) ask(ctx context.Context, h *host, m mark, hash string) (finding, error) {
	found, fate, err := s.askServer(ctx, h, m, hash)
	if found != unsettled || m.view.cluster == "" {
		return found, err
	}
	found, others := s.askOthers(ctx, h, m, fate, hash)
	return found, errors.Join(err, others)
}

// askServer asks the session's own server, on a connection of its own.
func (s *Store) askServer(ctx context.Context, h *host, m mark, hash string) (finding, fate, error) {
	c, err := s.connectToAsk(ctx, h)
	if err != nil {
		return unsettled, fateOf(err), err
	}
	defer c.drop() // frees the lock
	facts, err := c.readFacts(ctx)
	if err != nil {
		return unsettled, silent, err
	}
	if at := serverOf(facts); at != m.server {
		return unsettled, silent, fmt.Errorf("another server answers: %v, not %v", at, m.server)
	}
	if err := c.outlive(ctx, m.lock, s.options.answerTime()); err != nil {
		return unsettled, silent, err
	}
	v, err := c.viewCluster(ctx)
	if err == nil && m.view.cluster != "" && !v.primary {
		err = errors.New("the node has lost its cluster")
	}
	if err != nil {
		return unsettled, over, err
	}
	there, err := c.lookUp(ctx, s, v, hash)
	switch {
	case err != nil:
		return unsettled, over, err
	case there:
		return stored, over, nil
	}
	return absent, over, nil
}

// connectToAsk connects without what a session for mail needs.
func (s *Store) connectToAsk(ctx context.Context, h *host) (*conn, error) {
	// One that hangs must leave time for the others.
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dc, err := h.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &conn{Conn: dc, host: h}, nil
}

// outlive returns nil when the session that held the lock is over.
func (c *conn) outlive(ctx context.Context, lock string, answer time.Duration) error {
	holder, err := c.holder(ctx, lock)
	if err != nil || holder == 0 {
		return err
	}
	got, err := c.lock(ctx, lock, min(patience, answer/2))
	for err == nil && !got {
		// Asked for anew each time: connection ids are used again.
		if holder, err = c.holder(ctx, lock); err != nil || holder == 0 {
			return err
		}
		if err = c.kill(ctx, holder); err != nil {
			return err
		}
		got, err = c.lock(ctx, lock, min(killPatience, answer/2))
	}
	return err
}

// holder returns the id of the session that holds the lock, 0 if none does.
func (c *conn) holder(ctx context.Context, lock string) (int64, error) {
	var id sql.NullInt64
	if err := c.QueryRowContext(ctx, "SELECT IS_USED_LOCK("+literal(lock)+")").Scan(&id); err != nil {
		return 0, fmt.Errorf("ask for the lost session: %w", err)
	}
	return id.Int64, nil
}

// lock waits for a user lock.
func (c *conn) lock(ctx context.Context, name string, wait time.Duration) (bool, error) {
	var got sql.NullInt64 // NULL: an error on the server
	if err := c.QueryRowContext(ctx, fmt.Sprintf("SELECT GET_LOCK(%s,%f)", literal(name), wait.Seconds())).Scan(&got); err != nil {
		return false, fmt.Errorf("wait for the end of the session: %w", err)
	}
	return got.Int64 == 1, nil
}

// errNoSuchThread is KILL's answer for a session that does not exist.
const errNoSuchThread = 1094

// kill ends a session of our own user, for which it needs no privilege.
func (c *conn) kill(ctx context.Context, id int64) error {
	_, err := c.ExecContext(ctx, fmt.Sprintf("KILL %d", id))
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch e.Number {
		case errNoSuchThread, // it has just ended
			1047: // Galera, cut off from its cluster: waiting is all that is left
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("end the lost session: %w", err)
	}
	return nil
}

// serverOf tells one server from another. MariaDB has server_uid, MySQL
// server_uuid.
func serverOf(facts map[string]string) server {
	return server{facts["hostname"], facts["port"], cmp.Or(facts["server_uid"], facts["server_uuid"]), facts["wsrep_node_name"]}
}

// hashesOf returns the hashes of rows.
func hashesOf(statements [][]mailRow) []string {
	var hashes []string
	for _, rows := range statements {
		for _, r := range rows {
			hashes = append(hashes, r.envelope.To[r.i].Hash)
		}
	}
	return hashes
}
