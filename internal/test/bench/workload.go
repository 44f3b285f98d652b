package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A workload is the work of a client in one measurement.
type workload struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	Size     int    `json:"size"`     // bytes of a message
	Messages int    `json:"messages"` // of one measurement
	Sessions int    `json:"sessions"` // concurrent
	Keep     bool   `json:"keep"`     // send several messages on each connection
	Clients  int    `json:"clients"`  // processes that share the work; 0 = 1

	base string // name of the reference
	able int    // the ability that a contestant needs to take part
	plan *plan  // of the benchmark's own client; nil = smtp-source
}

// measureTimeout bounds one measurement, even on a busy machine, so that a server that
// hangs is an error.
const measureTimeout = 5 * time.Minute

// workloads returns the cases. Cases with a higher cost per message have fewer messages, so
// that all measurements take about the same time.
func workloads(messages int) []workload {
	tls := func(resume bool) *plan { return &plan{TLS: true, Resume: resume} }
	return []workload{
		{Name: "A", Title: "5 KB, one connection each", Size: 5000, Messages: messages, Sessions: 100, base: reference, able: plain},
		{Name: "B", Title: "5 KB, connections kept", Size: 5000, Messages: messages, Sessions: 100, Keep: true, base: reference, able: plain},
		{Name: "C", Title: "500 B, one connection each", Size: 500, Messages: messages, Sessions: 100, base: reference, able: plain},
		{Name: "D", Title: "100 KB, one connection each", Size: 100_000, Messages: messages / 5, Sessions: 50, base: reference, able: plain},
		{Name: "E", Title: "5 KB inside TLS 1.3, one connection and handshake each", Size: 5000, Messages: messages / 2, Sessions: 50,
			base: tlsReference, able: secured | handshaking, plan: tls(false)},
		{Name: "R", Title: "as E, with resumed TLS sessions", Size: 5000, Messages: messages / 2, Sessions: 50,
			base: tlsReference, able: secured | handshaking, plan: tls(true)},
		{Name: "F", Title: "1 KB to 2 MB, multipart, 1 to 5 recipients, a third pipelining, a third by BDAT, 2 % refused, half of the clients 100 ms away",
			Messages: messages / 2, Sessions: 200, base: goReference, able: secured, plan: &plan{Varied: true}},
	}
}

func workloadNames() []string {
	var names []string
	for _, w := range workloads(0) {
		names = append(names, w.Name)
	}
	return names
}

// arguments returns the arguments of smtp-source without the address. smtp-source fails
// as soon as a message is refused, so success means that all messages were accepted.
func (w workload) arguments() []string {
	args := []string{"-s", strconv.Itoa(w.Sessions), "-l", strconv.Itoa(w.Size), "-m", strconv.Itoa(w.Messages),
		"-f", "a@b.com", "-t", "test@example.com"}
	if w.Keep {
		args = append(args, "-d")
	}
	return args
}

// send runs the clients against a server and returns their CPU time.
func (w workload) send(ctx context.Context, source string, s *server) (o outcome, cpu time.Duration, err error) {
	if w.Clients < 2 {
		return w.sendPart(ctx, source, s)
	}
	part := w
	part.Messages, part.Sessions = w.Messages/w.Clients, w.Sessions/w.Clients
	var (
		clients sync.WaitGroup
		mu      sync.Mutex
		begun   = time.Now()
	)
	for range w.Clients {
		clients.Go(func() {
			got, used, e := part.sendPart(ctx, source, s)
			mu.Lock()
			defer mu.Unlock()
			o.add(got)
			cpu += used
			err = errors.Join(err, e)
		})
	}
	clients.Wait()
	o.Wall = time.Since(begun)
	slices.Sort(o.Waits)
	return o, cpu, err
}

// sendPart runs one client.
func (w workload) sendPart(ctx context.Context, source string, s *server) (o outcome, cpu time.Duration, err error) {
	if w.plan == nil {
		return w.source(ctx, append(slices.Clone(s.network), source), s.addr)
	}
	p := *w.plan
	p.Addr, p.Do, p.Messages, p.Sessions, p.Size, p.Keep = s.addr, doSend, w.Messages, w.Sessions, w.Size, w.Keep
	if s.able&handshaking != 0 {
		p.Do, p.TLS = doHandshake, false
	}
	return p.run(ctx)
}

// source runs smtp-source with the given command.
func (w workload) source(ctx context.Context, command []string, addr string) (o outcome, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	command = slices.Concat(command, w.arguments(), []string{addr})
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	wall := time.Since(start)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return o, 0, fmt.Errorf("smtp-source: %w: %s", err, out)
	}
	o = outcome{Messages: w.Messages, Rows: w.Messages, Wall: wall}
	return o, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}
