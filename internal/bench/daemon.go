package main

import (
	"context"
	"maps"
	"path/filepath"

	"goguerrillad/internal/testserver"
)

// startDaemon starts goguerrillad as people run it: its defaults for all keys
// but those that say where and for whom, and a log file.
func startDaemon(ctx context.Context, h *harness, keys map[string]string) (*server, *testserver.Daemon) {
	if h.daemon == "" {
		program, err := testserver.BuildDaemon(h.dir)
		if err != nil {
			h.Fatalf("%v", err)
		}
		h.daemon = program
	}
	all := map[string]string{
		"GM_ALLOWED_HOSTS": "example.com",
		"GSMTP_MAX_SIZE":   "",
		"GSMTP_TIMEOUT":    "",
	}
	maps.Copy(all, keys)
	d := testserver.NewDaemon(h, h.daemon, all)
	// One line a mail: that is a part of its price.
	d.Configure(h, map[string]string{"GSMTP_LOG_FILE": filepath.Join(d.Dir, "log"), "GM_MAILDIR": filepath.Join(d.Dir, "Maildir")})
	d.Start(h)
	return &server{
		addr:    d.Addr,
		pids:    []int{d.Pid()},
		output:  d.Log,
		version: output(ctx, h.daemon, "-version"),
	}, d
}
