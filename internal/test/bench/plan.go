package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"
)

// A plan is what a client of ours does, where smtp-source cannot: TLS,
// chunks, pipelining, thinking, and how long each mail waits for its 250.
type plan struct {
	Addr     string  `json:"addr"`
	From     string  `json:"from"` // address of the client's, "" for the usual one
	Do       string  `json:"do"`   // doMail, doShake or doHold
	Messages int     `json:"messages"`
	Sessions int     `json:"sessions"` // at a time; with doHold all of them
	Size     int     `json:"size"`     // bytes of a message
	Keep     bool    `json:"keep"`     // connections carry one message after another
	TLS      bool    `json:"tls"`      // STARTTLS first
	Resume   bool    `json:"resume"`   // with the session of before
	Rate     float64 `json:"rate"`     // messages a second, 0 for as many as go
	Varied   bool    `json:"varied"`   // as in real life; Size does not count
}

// What a plan can do.
const (
	doMail  = "mail"
	doShake = "shake" // a TLS handshake on each connection, and no more
	doHold  = "hold"  // connections after EHLO, until standard input ends
)

// An outcome is what came of a plan.
type outcome struct {
	Messages int             `json:"messages"` // acknowledged
	Refused  int             `json:"refused"`  // as they should be
	Rows     int             `json:"rows"`     // recipients of the acknowledged
	Resumed  int             `json:"resumed"`  // TLS sessions
	Wall     time.Duration   `json:"wall"`
	Waits    []time.Duration `json:"waits"` // from the final dot to the 250, sorted; a part of them where they are many
}

// maxWaits bounds how many are kept of each session.
const maxWaits = 2000

// wait returns the one below which a share of them is, 0 to 1.
func (o outcome) wait(share float64) time.Duration {
	if len(o.Waits) == 0 {
		return 0
	}
	return o.Waits[min(int(share*float64(len(o.Waits))), len(o.Waits)-1)]
}

// clientArgument before a plan in JSON makes the program a client: in a process
// of its own, so that its CPU can be told from the servers'.
const clientArgument = "-client"

// serveClient carries a plan out and prints the outcome, in JSON.
func serveClient(text string, in io.Reader, out io.Writer) error {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	o, err := p.carryOut(in, out)
	if err != nil {
		return err
	}
	slices.Sort(o.Waits)
	return json.NewEncoder(out).Encode(o)
}

// run carries the plan out in another process, and returns the CPU time that
// it used.
func (p plan) run(ctx context.Context) (o outcome, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	cmd, err := p.command(ctx)
	if err != nil {
		return o, 0, err
	}
	text, err := cmd.Output()
	if err != nil {
		return o, 0, clientError(ctx, err)
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return o, 0, fmt.Errorf("read the client's outcome: %w", err)
	}
	return o, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

func (p plan) command(ctx context.Context) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find one's own program: %w", err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, program, clientArgument, string(text)), nil
}

// clientError adds what the client has said.
func clientError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%w: %s", err, e.Stderr)
	}
	return fmt.Errorf("client: %w", err)
}
