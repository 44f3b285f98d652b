package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
)

// clientLimits are the maximum numbers of connections. Together they leave a
// reserve of descriptors, so that clients cannot stop the store from opening
// files and connections.
type clientLimits struct {
	smtp    int    // sessions
	http    int    // connections of each HTTP server
	warning string // "" if GM_MAX_CLIENTS sessions are possible
}

// descriptorLimit returns RLIMIT_NOFILE. Go's runtime has raised the soft limit to
// the hard limit before main.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1 << 30 // cannot happen on Linux
	}
	return int(min(limit.Cur, 1<<30))
}

// limitClients returns the limits of connections for a limit of descriptors. If
// descriptors are scarce, each HTTP server gets an eighth of those for clients.
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
		l.warning = fmt.Sprintf("too few descriptors for GM_MAX_CLIENTS: RLIMIT_NOFILE is %d, %d of them are reserved for the store, the log and the listeners, so at most %d of %d clients are accepted: raise LimitNOFILE or lower GM_MAX_CLIENTS",
			descriptors, reserve, l.smtp, cfg.MaxClients)
	}
	return l
}

// Descriptors that clients cannot use. A reload opens the new store, log and
// listeners before it closes the old ones, so these numbers count both.
const (
	processDescriptors = 16 // standard streams, log, Go's poller, certificates, name servers
	loopDescriptors    = 3  // epoll, eventfd, and a client that is refused
)

func reservedDescriptors(cfg *stores.Configuration) int {
	n := processDescriptors + loopDescriptors*smtpd.DefaultLoops() + 2*len(cfg.Listen)
	n += cfg.Descriptors()
	if cfg.AuthHTTP.Enabled {
		n += 4 + 2*len(cfg.AuthHTTP.Backends) // the listener, its duplicate, and a check of each backend
	}
	if cfg.Metrics != "" {
		n += 4
	}
	return n
}
