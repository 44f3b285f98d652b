package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
)

// clientLimits are how many connections the servers accept at once. All of them
// together leave a reserve of descriptors, so that clients cannot keep the store
// from opening what it needs.
type clientLimits struct {
	smtp    int    // sessions
	http    int    // connections of each HTTP server
	warning string // "" if GM_MAX_CLIENTS sessions are possible
}

// descriptorLimit returns how many descriptors the process may have open. Go's
// runtime has raised the soft limit to the hard one before main.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1 << 30 // Linux knows the limit, so this does not happen
	}
	return int(min(limit.Cur, 1<<30))
}

// limitClients fits GM_MAX_CLIENTS into a limit of descriptors. If they are
// scarce, each HTTP server gets an eighth of those that clients may have.
func limitClients(cfg *stores.Configuration, descriptors int) clientLimits {
	reserve := reservedDescriptors(cfg)
	room := max(descriptors-reserve, 1)
	servers := 0
	if cfg.AuthHTTP.Enabled {
		servers++
	}
	if cfg.Metrics != "" {
		servers++
	}
	l := clientLimits{smtp: cfg.MaxClients, http: cfg.MaxClients}
	if cfg.MaxClients <= room/(1+servers) {
		return l
	}
	l.http = max(min(cfg.MaxClients, room/8), 1)
	if l.smtp = max(min(cfg.MaxClients, room-servers*l.http), 1); l.smtp < cfg.MaxClients {
		l.warning = fmt.Sprintf("too few descriptors for GM_MAX_CLIENTS: RLIMIT_NOFILE is %d, of which %d are reserved for the store, the log and the listeners, so %d of %d clients are accepted: raise LimitNOFILE, or lower GM_MAX_CLIENTS",
			descriptors, reserve, l.smtp, cfg.MaxClients)
	}
	return l
}

// Descriptors that no client gets. A reload opens the new store, log and
// listeners before it closes the old ones, so these numbers have room for both.
const (
	processDescriptors = 16 // the standard streams, the log, Go's poller, certificates, name servers
	loopDescriptors    = 3  // epoll, eventfd, and a client that is turned away
)

func reservedDescriptors(cfg *stores.Configuration) int {
	n := processDescriptors + loopDescriptors*smtpd.DefaultLoops() + 2*len(cfg.Listen)
	n += cfg.Descriptors()
	if cfg.AuthHTTP.Enabled {
		n += 4 + 2*len(cfg.AuthHTTP.Backends) // the listener, also as Go's, and a probe of each server
	}
	if cfg.Metrics != "" {
		n += 4
	}
	return n
}
