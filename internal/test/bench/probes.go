package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A probe is one thing that is measured of a server by itself.
type probe struct {
	Contestant string  `json:"contestant"`
	Name       string  `json:"name"`
	Value      float64 `json:"value"`
	Unit       string  `json:"unit"`
}

// How much the probes do; less where a turn has fewer messages than 5,000.
const (
	idlePlain  = 15_000 // connections; a process has 20,000 descriptors on some machines
	idleTLS    = 5_000
	alone      = 500 // mails, one at a time
	probeTurns = 9   // of a workload, of which the median counts
	fewest     = 50  // sessions
	most       = 2000
)

// scaled is as much of n as the messages of a turn are of 5,000.
func (o options) scaled(n int) int { return max(1, min(n, n*o.messages/5000)) }

// probes measures what the rounds do not show.
func (b *bench) probes(ctx context.Context, o options) (found []probe, err error) {
	for _, s := range b.servers {
		if s.able&secured == 0 || !strings.HasPrefix(s.name, "goguerrillad") {
			continue
		}
		// What the server before has written is not to slow this one down.
		unix.Sync()
		add := func(name string, value float64, unit string) {
			b.log("%s: %s: %.3g %s", s.name, name, value, unit)
			found = append(found, probe{s.name, name, value, unit})
		}
		for _, measure := range []func(context.Context, options, *server, func(string, float64, string)) error{
			b.idle, b.lone, b.halfLoad, b.sessions, b.grown, b.soak,
		} {
			if err := measure(ctx, o, s, add); err != nil {
				return found, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return found, nil
}

// lone is what a single mail waits for, beside what the store alone takes.
func (b *bench) lone(ctx context.Context, o options, s *server, add func(string, float64, string)) error {
	p := plan{Addr: s.addr, Do: doMail, Messages: o.scaled(alone), Sessions: 1, Size: 5000, Keep: true}
	got, _, err := p.run(ctx)
	if err != nil {
		return err
	}
	add("one client: from the final dot to the 250, median", milliseconds(got.wait(0.5)), "ms")
	if s.commit == nil {
		return nil
	}
	own, err := s.commit(ctx, o.scaled(alone))
	if err != nil {
		return err
	}
	add("the store's own commit of such a row, median", milliseconds(own), "ms")
	add("the first by the second", got.wait(0.5).Seconds()/own.Seconds(), "x")
	return nil
}

// rate is the median of some turns.
func (b *bench) rate(ctx context.Context, w workload, s *server) (float64, error) {
	var samples []sample
	for range probeTurns {
		got, err := b.cleanTurn(ctx, w, s)
		if err != nil {
			return 0, err
		}
		samples = append(samples, got)
	}
	return summary(samples).Rate, nil
}

// halfLoad is what a mail waits for when half of those come that could.
func (b *bench) halfLoad(ctx context.Context, o options, s *server, add func(string, float64, string)) error {
	full, err := b.rate(ctx, workloads(o.messages)[0], s)
	if err != nil {
		return err
	}
	p := plan{Addr: s.addr, Do: doMail, Messages: o.messages, Sessions: 100, Size: 5000, Rate: full / 2}
	got, _, err := p.run(ctx)
	if err != nil {
		return err
	}
	add("at half of A's rate: from the final dot to the 250, median", milliseconds(got.wait(0.5)), "ms")
	add("the same, 99 % are faster", milliseconds(got.wait(0.99)), "ms")
	return nil
}

// sessions is what many clients at a time cost.
func (b *bench) sessions(ctx context.Context, o options, s *server, add func(string, float64, string)) error {
	w := workloads(o.messages)[0]
	few, many := o.scaled(fewest), o.scaled(most)
	w.Sessions = few
	base, err := b.rate(ctx, w, s)
	if err != nil {
		return err
	}
	w.Sessions = many
	rate, err := b.rate(ctx, w, s)
	if err != nil {
		return err
	}
	add(fmt.Sprintf("A with %d sessions at a time by A with %d", many, few), rate/base, "x")
	return nil
}

// idle is what connections cost that do nothing, and what they cost others.
func (b *bench) idle(ctx context.Context, o options, s *server, add func(string, float64, string)) error {
	w := workloads(o.messages)[0]
	before, err := b.rate(ctx, w, s)
	if err != nil {
		return err
	}
	for _, tls := range []bool{false, true} {
		n, kind := o.scaled(idlePlain), "plain"
		if tls {
			n, kind = o.scaled(idleTLS), "inside TLS"
		}
		each, with, err := b.hold(ctx, s, n, tls, w)
		if err != nil {
			return err
		}
		add("a connection after EHLO, "+kind, each/1024, "KiB")
		if !tls {
			add(fmt.Sprintf("A beside %d of them by A", n), with/before, "x")
		}
	}
	return nil
}

// hold holds n connections, and returns the memory of each in bytes, and the
// rate beside them.
func (b *bench) hold(ctx context.Context, s *server, n int, tls bool, w workload) (each, with float64, err error) {
	// From an address of their own: else whoever connects beside them searches
	// for a port among those that they have, or had a minute ago.
	b.holds++
	from := fmt.Sprintf("127.0.0.%d", 1+b.holds)
	cmd, err := plan{Addr: s.addr, From: from, Do: doHold, Sessions: n, TLS: tls}.command(ctx)
	if err != nil {
		return 0, 0, err
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	before, err := rss(s.processes())
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		in.Close()
		if e := cmd.Wait(); err == nil && e != nil {
			err = clientError(ctx, e)
		}
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		return 0, 0, fmt.Errorf("hold %d connections: %q, %w", n, line, err)
	}
	if _, err := settle(s.processes); err != nil {
		return 0, 0, err
	}
	after, err := rss(s.processes())
	if err != nil {
		return 0, 0, err
	}
	if !tls {
		with, err = b.rate(ctx, w, s)
	}
	return float64(after-before) / float64(n), with, err
}

// grown is what millions of rows cost, when that was asked for.
func (b *bench) grown(ctx context.Context, o options, s *server, add func(string, float64, string)) error {
	if o.rows == 0 || s.fill == nil {
		return nil
	}
	w := workloads(o.messages)[0]
	empty, err := b.rate(ctx, w, s)
	if err != nil {
		return err
	}
	if err := s.fill(ctx, o.rows); err != nil {
		return fmt.Errorf("fill the table: %w", err)
	}
	unix.Sync()
	full, err := b.rate(ctx, w, s)
	if err != nil {
		return err
	}
	add(fmt.Sprintf("A with %d rows more by A", o.rows), full/empty, "x")
	return nil
}

// soak is what millions of mails leave behind, when that was asked for.
func (b *bench) soak(ctx context.Context, o options, s *server, add func(string, float64, string)) error {
	if o.soak == 0 {
		return nil
	}
	w := workloads(0)[1] // connections kept
	w.Size, w.Messages = 500, 100_000
	first, began := int64(0), time.Now()
	for sent := 0; sent < o.soak; sent += w.Messages {
		if _, err := b.turn(ctx, w, s); err != nil {
			return err
		}
		now, err := rss(s.pids[:1])
		if err != nil {
			return err
		}
		if first == 0 {
			first = now
		}
		if sent+w.Messages >= o.soak {
			add(fmt.Sprintf("memory after %d mails by that after %d", sent+w.Messages, w.Messages), float64(now)/float64(first), "x")
			add("their rate", float64(sent+w.Messages)/time.Since(began).Seconds(), "mails/s")
		}
	}
	return nil
}
