package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// A workload is what one client does in one turn.
type workload struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	Size     int    `json:"size"`     // bytes of a message
	Messages int    `json:"messages"` // of one turn
	Sessions int    `json:"sessions"` // at a time
	Keep     bool   `json:"keep"`     // connections carry one message after another
}

// turnTimeout bounds one turn; a server that hangs is an error.
const turnTimeout = 60 * time.Second

// workloads returns the cases, with messages messages in a turn. Large ones
// are fewer, so that a turn takes about as long.
func workloads(messages int) []workload {
	return []workload{
		{Name: "A", Title: "5 KB, a connection each", Size: 5000, Messages: messages, Sessions: 100},
		{Name: "B", Title: "5 KB, connections kept", Size: 5000, Messages: messages, Sessions: 100, Keep: true},
		{Name: "C", Title: "500 B, a connection each", Size: 500, Messages: messages, Sessions: 100},
		{Name: "D", Title: "100 KB, a connection each", Size: 100_000, Messages: messages / 5, Sessions: 50},
	}
}

func workloadNames() []string {
	var names []string
	for _, w := range workloads(0) {
		names = append(names, w.Name)
	}
	return names
}

// arguments are smtp-source's, without the address. It ends with an error as
// soon as one message is refused, so its success means that all were accepted.
func (w workload) arguments() []string {
	args := []string{"-s", strconv.Itoa(w.Sessions), "-l", strconv.Itoa(w.Size), "-m", strconv.Itoa(w.Messages),
		"-f", "a@b.com", "-t", "test@example.com"}
	if w.Keep {
		args = append(args, "-d")
	}
	return args
}

// send runs the client against addr and returns the time that passed and the
// CPU time that it used.
func (w workload) send(ctx context.Context, program, addr string) (wall, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(w.arguments(), addr)...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	wall = time.Since(start)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return 0, 0, fmt.Errorf("smtp-source: %w: %s", err, out)
	}
	return wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}
