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

// A plan is the work of the benchmark's own client. Unlike smtp-source, the client can use
// TLS, BDAT and pipelining, limit its rate, and measure how long each message waits for its
// 250.
type plan struct {
	Addr     string  `json:"addr"`
	From     string  `json:"from"` // local address, "" = any
	Do       string  `json:"do"`   // doMail, doHandshake or doHold
	Messages int     `json:"messages"`
	Sessions int     `json:"sessions"` // concurrent; with doHold all connections
	Size     int     `json:"size"`     // bytes of a message
	Keep     bool    `json:"keep"`     // send several messages on each connection
	TLS      bool    `json:"tls"`      // use STARTTLS
	Resume   bool    `json:"resume"`   // resume the TLS session
	Rate     float64 `json:"rate"`     // messages per second, 0 = unlimited
	Varied   bool    `json:"varied"`   // send the messages of varied; Size is ignored
}

// The values of plan.Do.
const (
	doSend      = "send"
	doHandshake = "handshake" // only a TLS handshake on each connection
	doHold      = "hold"      // connections after EHLO, until standard input ends
)

// An outcome is the result of a plan.
type outcome struct {
	Messages int             `json:"messages"` // acknowledged
	Refused  int             `json:"refused"`  // messages that were refused as expected
	Rows     int             `json:"rows"`     // recipients of the acknowledged messages
	Resumed  int             `json:"resumed"`  // TLS sessions
	Wall     time.Duration   `json:"wall"`
	Waits    []time.Duration `json:"waits"` // from the final dot to the 250, sorted; a sample if there are many
}

// add adds the counts and the waits of another outcome.
func (o *outcome) add(more outcome) {
	o.Messages += more.Messages
	o.Refused += more.Refused
	o.Rows += more.Rows
	o.Resumed += more.Resumed
	o.Waits = append(o.Waits, more.Waits...)
}

// maxWaits bounds the number of waits that a session records.
const maxWaits = 2000

// wait returns the quantile of the waits for a share of 0 to 1.
func (o outcome) wait(share float64) time.Duration {
	if len(o.Waits) == 0 {
		return 0
	}
	return o.Waits[min(int(share*float64(len(o.Waits))), len(o.Waits)-1)]
}

// clientArgument, before a plan in JSON, makes the program a client. The client has its
// own process, so that its CPU time can be measured.
const clientArgument = "-client"

// serveClient executes a plan and prints the outcome as JSON.
func serveClient(text string, in io.Reader, out io.Writer) error {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	o, err := p.execute(in, out)
	if err != nil {
		return err
	}
	slices.Sort(o.Waits)
	return json.NewEncoder(out).Encode(o)
}

// run executes the plan in another process and returns the CPU time of that process.
func (p plan) run(ctx context.Context) (o outcome, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
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
		return nil, fmt.Errorf("find the path of this program: %w", err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, program, clientArgument, string(text)), nil
}

// clientError adds the output of the client.
func clientError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%w: %s", err, e.Stderr)
	}
	return fmt.Errorf("client: %w", err)
}
