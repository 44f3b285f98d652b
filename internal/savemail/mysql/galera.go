package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"goguerrillad/internal/savemail"
)

// In a Galera cluster the other nodes can settle what a node that has gone
// left open, under three conditions, each of which was found to matter:
//
//   - The node that is asked has a quorum (Primary), and is told to catch up
//     first (wsrep_sync_wait).
//   - It has excluded the lost node. Before that, the dead node's writes may
//     still come through.
//   - A mail that is not there is absent for good only if the lost node's
//     process is gone, or its session is known to be over. A node that merely
//     hangs may come back, and commit for all what it had begun.

// A view is what a node knows of its cluster. Its zero value is no cluster.
type view struct {
	cluster string // wsrep_cluster_state_uuid
	primary bool
	members []string // wsrep_incoming_addresses
	self    string   // the node's own among them, "" when it is not clear
}

// A fate is what is known of the session that was lost.
type fate uint8

const (
	silent fate = iota // nothing
	gone               // its server's address answers that nobody listens
	over               // its user lock is free
)

// viewCluster asks a server for its cluster. A server that is not a Galera node
// has none.
func (c *conn) viewCluster(ctx context.Context) (view, error) {
	status, err := c.readStatus(ctx, "wsrep_cluster_state_uuid", "wsrep_cluster_status", "wsrep_incoming_addresses", "wsrep_local_index")
	if err != nil {
		return view{}, err
	}
	v := view{
		cluster: strings.Trim(status["wsrep_cluster_state_uuid"], "0-"), // nothing is left without a cluster
		primary: status["wsrep_cluster_status"] == "Primary",
		members: strings.Split(status["wsrep_incoming_addresses"], ","),
	}
	if v.cluster == "" {
		return view{}, nil
	}
	// The largest number that there is stands for a node in no cluster.
	if index, err := strconv.Atoi(status["wsrep_local_index"]); err == nil {
		v.self = ownEntry(v.members, index)
	}
	return v, nil
}

// ownEntry is what stands in a list of members for one of them, "" where that
// cannot be told from the others: the operator may have given a node no
// address, or several the same.
func ownEntry(members []string, index int) string {
	if index < 0 || index >= len(members) {
		return ""
	}
	entry := members[index]
	host, _, ok := strings.Cut(entry, ":")
	if !ok || host == "" || slices.Index(members, entry) != index || slices.Contains(members[index+1:], entry) {
		return ""
	}
	return entry
}

// without reports whether this is a view of the cluster in which another had
// been, and no longer is.
func (v view) without(lost view) bool {
	return v.cluster == lost.cluster && lost.self != "" && !slices.Contains(v.members, lost.self)
}

// fateOf reads the error of a connection to the lost session's server.
func fateOf(err error) fate {
	// The kernel's own answer; a unix socket's file may be gone with it.
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return gone
	}
	return silent
}

// askOthers asks the other hosts for a batch whose session was lost with a
// node of their cluster.
func (s *Store) askOthers(ctx context.Context, lost *host, m mark, f fate, hash string) (finding, error) {
	var errs []error
	for _, h := range s.hosts {
		if h == lost {
			continue
		}
		found, err := s.askOther(ctx, h, m, f, hash)
		if found != unsettled {
			return found, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", h, err))
	}
	return unsettled, errors.Join(errs...)
}

func (s *Store) askOther(ctx context.Context, h *host, m mark, f fate, hash string) (finding, error) {
	c, err := s.connectToAsk(ctx, h)
	if err != nil {
		return unsettled, err
	}
	defer c.drop()
	v, err := c.viewCluster(ctx)
	switch {
	case err != nil:
		return unsettled, err
	case v.cluster != m.view.cluster:
		return unsettled, errors.New("it is in another cluster, or in none")
	case !v.primary:
		return unsettled, errors.New("it has lost its cluster")
	case f != over && !v.without(m.view):
		return unsettled, errors.New("its cluster has not excluded the lost node")
	}
	there, err := c.lookUp(ctx, s, v, hash)
	switch {
	case err != nil:
		return unsettled, err
	case there:
		return stored, nil
	case f == silent:
		return unsettled, fmt.Errorf("%w: the mail is not there, but the lost node may yet come back with it", savemail.ErrUnknown)
	}
	return absent, nil
}

// lookUp looks for one mail, on a node of a cluster when it has caught up.
func (c *conn) lookUp(ctx context.Context, s *Store, v view, hash string) (there bool, err error) {
	if v.cluster != "" {
		if _, err := c.ExecContext(ctx, "SET SESSION wsrep_sync_wait=1"); err != nil {
			return false, fmt.Errorf("wait for the cluster: %w", err)
		}
	}
	var rows int
	if err := c.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+s.table.String()+" WHERE `hash`="+literal(hash)).Scan(&rows); err != nil {
		return false, fmt.Errorf("look for the mail: %w", err)
	}
	return rows > 0, nil
}
