package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// If a node of a Galera cluster is lost during a commit, the other nodes can settle
// the batch. Three conditions are necessary:
//
//   - The queried node has a quorum (Primary) and catches up before the lookup
//     (wsrep_sync_wait).
//   - The queried node has excluded the lost node, or the lost session has ended.
//     Before that, the node may still receive the lost node's transactions.
//   - If the row does not exist, the lost node's process must not exist any more,
//     or the lost session must have ended. A node that hangs may continue, and
//     commit the transaction in the whole cluster.

// A view is a node's view of its cluster. The zero value means no cluster.
type view struct {
	cluster string // wsrep_cluster_state_uuid
	primary bool
	members []string // wsrep_incoming_addresses
	self    string   // the node's address in members, "" if it is ambiguous
}

// A sessionState is the state of a lost session.
type sessionState uint8

const (
	sessionUnknown sessionState = iota
	serverGone                  // no process listens on the server's address
	sessionEnded                // no session holds its user lock
)

// readView returns the server's view of its cluster, the zero value for a
// server that is not a Galera node.
func (c *conn) readView(ctx context.Context) (view, error) {
	status, err := c.readStatus(ctx, "wsrep_cluster_state_uuid", "wsrep_cluster_status", "wsrep_incoming_addresses", "wsrep_local_index")
	if err != nil {
		return view{}, err
	}
	v := view{
		cluster: strings.Trim(status["wsrep_cluster_state_uuid"], "0-"), // all zeros without a cluster
		primary: status["wsrep_cluster_status"] == "Primary",
		members: strings.Split(status["wsrep_incoming_addresses"], ","),
	}
	if v.cluster == "" {
		return view{}, nil
	}
	// The index of a node without a cluster is the largest integer, not a member's.
	if index, err := strconv.Atoi(status["wsrep_local_index"]); err == nil {
		v.self = ownAddress(v.members, index)
	}
	return v, nil
}

// ownAddress returns the address of the member with this index. It returns "" if
// the address does not identify the node, because the operator has given it no
// address or the address of another node.
func ownAddress(members []string, index int) string {
	if index < 0 || index >= len(members) {
		return ""
	}
	address := members[index]
	host, _, ok := strings.Cut(address, ":")
	if !ok || host == "" || slices.Index(members, address) != index || slices.Contains(members[index+1:], address) {
		return ""
	}
	return address
}

// excludes reports whether the lost node was a member of the same cluster and is
// not a member any more.
func (v view) excludes(lost view) bool {
	return v.cluster == lost.cluster && lost.self != "" && !slices.Contains(v.members, lost.self)
}

// stateOf returns the state of a lost session if connecting to its server fails
// with err.
func stateOf(err error) sessionState {
	// The kernel returns ENOENT if the server has removed its unix socket.
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return serverGone
	}
	return sessionUnknown
}

// queryCluster looks up a batch on the other nodes of the lost session's
// cluster.
func (s *Store) queryCluster(ctx context.Context, lost *host, session sessionID, state sessionState, hash string) (commitState, error) {
	var errs []error
	for _, h := range s.hosts {
		if h == lost {
			continue
		}
		settled, err := s.queryNode(ctx, h, session, state, hash)
		if settled != unsettled {
			return settled, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", h, err))
	}
	return unsettled, errors.Join(errs...)
}

func (s *Store) queryNode(ctx context.Context, h *host, session sessionID, state sessionState, hash string) (commitState, error) {
	c, err := s.connectForQuery(ctx, h)
	if err != nil {
		return unsettled, err
	}
	defer c.destroy()
	v, err := c.readView(ctx)
	switch {
	case err != nil:
		return unsettled, err
	case v.cluster != session.view.cluster:
		return unsettled, errors.New("the server is not in the lost node's cluster")
	case !v.primary:
		return unsettled, errors.New("the node has lost its cluster")
	case state != sessionEnded && !v.excludes(session.view):
		return unsettled, errors.New("the node has not excluded the lost node")
	}
	found, err := c.hasRow(ctx, s, v, hash)
	switch {
	case err != nil:
		return unsettled, err
	case found:
		return stored, nil
	case state == sessionUnknown:
		return unsettled, errors.New("the lost node may still commit the message")
	}
	return absent, nil
}

// hasRow reports whether the table has a row with the hash. In a cluster the
// node catches up first.
func (c *conn) hasRow(ctx context.Context, s *Store, v view, hash string) (bool, error) {
	if v.cluster != "" {
		if _, err := c.ExecContext(ctx, "SET SESSION wsrep_sync_wait=1"); err != nil {
			return false, fmt.Errorf("wait for the node to catch up: %w", err)
		}
	}
	var rows int
	if err := c.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+s.table.String()+" WHERE `hash`="+literal(hash)).Scan(&rows); err != nil {
		return false, fmt.Errorf("look up the message: %w", err)
	}
	return rows > 0, nil
}
