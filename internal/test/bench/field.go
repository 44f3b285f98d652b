package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// fieldCases are the cases of BENCH=field: those that every server can do.
const fieldCases = "A,B,C,D"

// fieldContestants returns the contestants that only BENCH=field measures: other servers that receive
// and store messages. What is durable was verified with strace.
func fieldContestants() []contestant {
	return []contestant{
		{"exim", "queue files and names, fsync", plain, startExim},
		{"opensmtpd", "queue file, no sync", plain, startOpenSMTPD},
		{"haraka", "file, no sync", plain, startHaraka},
		{"mailpit", "SQLite transaction, no sync", plain, startMailpit},
		{"inbucket", "nothing (memory)", plain, startInbucket},
		{"inbucket-file", "file, no sync", plain, startInbucketFile},
	}
}

// fieldNames returns the contestants of BENCH=field.
func fieldNames() []string {
	return append([]string{reference, goReference, "postfix", "goguerrillad-discard", "goguerrillad-sqlite", "goguerrillad-mysql",
		"goguerrillad-postgres", "goguerrillad-maildir"}, names(fieldContestants())...)
}

// reduced returns the workload with fewer messages and sessions for a server that needs
// this.
func (w workload) reduced(s *server) workload {
	if s.share != 0 {
		w.Messages = max(1, w.Messages/s.share)
	}
	if s.most != 0 {
		w.Sessions = min(w.Sessions, s.most)
	}
	return w
}

// awaitDelivered waits until the server has stored all messages that it has accepted.
func (s *server) awaitDelivered(ctx context.Context) error {
	if s.queued == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	for s.queued() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the queue is empty: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// startLogged starts a server whose output goes to a file, since a pipe would cost this
// program CPU time.
func startLogged(h *harness, addr string, cmd *exec.Cmd) *server {
	log, err := os.Create(filepath.Join(h.TempDir(), "log"))
	if err != nil {
		h.Fatalf("make the log: %v", err)
	}
	h.Cleanup(func() { log.Close() })
	cmd.Stdout, cmd.Stderr = log, log
	s := startProcess(h, addr, cmd)
	s.output = func() string { return contents(log.Name()) }
	return s
}

// countFiles returns a function that counts the files in a directory, which the server may
// make later.
func countFiles(dir string) func(context.Context) (int, error) {
	return func(context.Context) (int, error) {
		names, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return len(names), err
	}
}
