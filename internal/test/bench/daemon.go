package main

import (
	"context"
	"maps"
	"path/filepath"
	"strconv"

	"goguerrillad/internal/test/daemon"
)

// The settings of all servers.
const (
	maxMessage  = 4_000_000 // bytes of a message
	maxSessions = 18_000
)

// startDaemon starts goguerrillad with the defaults of all keys except addresses,
// domains and the log file.
func startDaemon(ctx context.Context, h *harness, keys map[string]string) (*server, *daemon.Daemon) {
	if h.daemon == "" {
		program, err := daemon.Build(h.dir)
		if err != nil {
			h.Fatalf("%v", err)
		}
		h.daemon = program
	}
	all := map[string]string{
		"GM_ALLOWED_HOSTS": "example.com",
		"GSMTP_MAX_SIZE":   strconv.Itoa(maxMessage),
		"GSMTP_TIMEOUT":    "",
		"GM_MAX_CLIENTS":   strconv.Itoa(maxSessions),
		"GSMTP_PUB_KEY":    h.certificate().CertFile,
		"GSMTP_PRV_KEY":    h.certificate().KeyFile,
	}
	maps.Copy(all, keys)
	d := daemon.New(h, h.daemon, all)
	d.Env = h.daemonEnv
	// The log line of a message is part of the cost of the message.
	d.Configure(h, map[string]string{"GSMTP_LOG_FILE": filepath.Join(d.Dir, "log"), "GM_MAILDIR": filepath.Join(d.Dir, "Maildir")})
	d.Start(h)
	return &server{
		addr:    d.Addr,
		pids:    []int{d.Pid()},
		output:  d.Log,
		version: "goguerrillad " + sourceVersion(ctx),
	}, d
}
