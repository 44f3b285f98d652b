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

// A probe is one figure of one server.
type probe struct {
	Contestant string  `json:"contestant"`
	Name       string  `json:"name"`
	Value      float64 `json:"value"`
	Unit       string  `json:"unit"`
}

// The sizes of the probes for measurements of at least 5,000 messages; otherwise see
// scaled.
const (
	idlePlain      = 15_000 // connections; a process has 20,000 descriptors on some machines
	idleTLS        = 5_000
	singleMessages = 500                    // messages, one after the other
	singlePause    = 400 * time.Microsecond // between INSERTs; about as long as the dialogue of such a message
	probeSamples   = 9                      // of a rate; the result is their median
	fewSessions    = 50                     // sessions
	manySessions   = 2000
)

// addProbe adds a probe of a server to the report.
type addProbe func(name string, value float64, unit string)

// scaled returns n, reduced in the ratio of o.messages to 5,000.
func (o options) scaled(n int) int { return max(1, min(n, n*o.messages/5000)) }

// probes runs the probes of all servers.
func (b *bench) probes(ctx context.Context, o options) (found []probe, err error) {
	for _, s := range b.servers {
		if s.able&secured == 0 || !strings.HasPrefix(s.name, "goguerrillad") {
			continue
		}
		// The writes of the previous server must not slow this one down.
		unix.Sync()
		add := func(name string, value float64, unit string) {
			b.log("%s: %s: %.3g %s", s.name, name, value, unit)
			found = append(found, probe{s.name, name, value, unit})
		}
		for _, measure := range []func(context.Context, options, *server, addProbe) error{
			b.idle, b.singleClient, b.halfLoad, b.sessions, b.largeTable, b.soak, b.expiring,
		} {
			if err := measure(ctx, o, s, add); err != nil {
				return found, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return found, nil
}

// singleClient measures how long a single message waits, and the commit time of the store.
func (b *bench) singleClient(ctx context.Context, o options, s *server, add addProbe) error {
	p := plan{Addr: s.addr, Do: doSend, Messages: o.scaled(singleMessages), Sessions: 1, Size: 5000, Keep: true}
	got, _, err := p.run(ctx)
	if err != nil {
		return err
	}
	add("one client: from the final dot to the 250, median", milliseconds(got.wait(0.5)), "ms")
	if s.commit == nil {
		return nil
	}
	own, err := s.commit(ctx, o.scaled(singleMessages), 0)
	if err != nil {
		return err
	}
	paused, err := s.commit(ctx, o.scaled(singleMessages), singlePause)
	if err != nil {
		return err
	}
	add("the store's own commit of such a row, median", milliseconds(own), "ms")
	add("ratio of these two", got.wait(0.5).Seconds()/own.Seconds(), "x")
	add("the store's own commit after a pause, median", milliseconds(paused), "ms")
	return nil
}

// rate returns the median rate of several measurements.
func (b *bench) rate(ctx context.Context, w workload, s *server) (float64, error) {
	var samples []sample
	for range probeSamples {
		got, err := b.measureUndisturbed(ctx, w, s)
		if err != nil {
			return 0, err
		}
		samples = append(samples, got)
	}
	return summary(samples).Rate.Median, nil
}

// halfLoad measures how long messages wait at half of the maximum rate.
func (b *bench) halfLoad(ctx context.Context, o options, s *server, add addProbe) error {
	full, err := b.rate(ctx, workloads(o.messages)[0], s)
	if err != nil {
		return err
	}
	p := plan{Addr: s.addr, Do: doSend, Messages: o.messages, Sessions: 100, Size: 5000, Rate: full / 2}
	got, _, err := p.run(ctx)
	if err != nil {
		return err
	}
	add("at half of A's rate: from the final dot to the 250, median", milliseconds(got.wait(0.5)), "ms")
	add("at half of A's rate: from the final dot to the 250, 99th percentile", milliseconds(got.wait(0.99)), "ms")
	return nil
}

// sessions measures the cost of many concurrent clients.
func (b *bench) sessions(ctx context.Context, o options, s *server, add addProbe) error {
	w := workloads(o.messages)[0]
	few, many := o.scaled(fewSessions), o.scaled(manySessions)
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
	add(fmt.Sprintf("A with %d sessions divided by A with %d", many, few), rate/base, "x")
	return nil
}

// idle measures the memory of idle connections, and how they affect other clients.
func (b *bench) idle(ctx context.Context, o options, s *server, add addProbe) error {
	w := workloads(o.messages)[0]
	before, err := b.rate(ctx, w, s)
	if err != nil {
		return err
	}
	for _, tls := range []bool{false, true} {
		n, kind := o.scaled(idlePlain), "plain"
		if tls {
			n, kind = o.scaled(idleTLS), "inside TLS"
			// After these handshakes the daemon returns the memory of earlier measurements.
			if _, _, err := b.hold(ctx, s, 100, tls, w); err != nil {
				return err
			}
		}
		each, with, err := b.hold(ctx, s, n, tls, w)
		if err != nil {
			return err
		}
		add("a connection after EHLO, "+kind, each/1024, "KiB")
		if !tls {
			add(fmt.Sprintf("A with %d idle connections divided by A", n), with/before, "x")
		}
	}
	return nil
}

// hold opens n connections, and returns the memory of each in bytes and, without TLS, the
// rate of other clients while they are open.
func (b *bench) hold(ctx context.Context, s *server, n int, tls bool, w workload) (each, with float64, err error) {
	// The connections have their own local address. Otherwise the other clients would
	// spend time on the search for a free port.
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
	time.Sleep(time.Second) // the daemon collects garbage when the handshakes have ended
	after, err := rss(s.processes())
	if err != nil {
		return 0, 0, err
	}
	if !tls {
		with, err = b.rate(ctx, w, s)
	}
	return float64(after-before) / float64(n), with, err
}

// largeTable measures the cost of o.rows more rows.
func (b *bench) largeTable(ctx context.Context, o options, s *server, add addProbe) error {
	if o.rows == 0 || s.fill == nil {
		return nil
	}
	w := workloads(o.messages)[0]
	empty, err := b.rate(ctx, w, s)
	if err != nil {
		return err
	}
	if err := s.fill(ctx, o.rows, "CURRENT_TIMESTAMP"); err != nil {
		return fmt.Errorf("fill the table: %w", err)
	}
	unix.Sync()
	full, err := b.rate(ctx, w, s)
	if err != nil {
		return err
	}
	add(fmt.Sprintf("A with %d more rows divided by A", o.rows), full/empty, "x")
	return nil
}

// soak measures how the memory grows during o.soak messages.
func (b *bench) soak(ctx context.Context, o options, s *server, add addProbe) error {
	if o.soak == 0 {
		return nil
	}
	w := workloads(0)[1] // connections kept
	w.Size, w.Messages = 500, 100_000
	first, began := int64(0), time.Now()
	for sent := 0; sent < o.soak; sent += w.Messages {
		if _, err := b.measure(ctx, w, s); err != nil {
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
			add(fmt.Sprintf("memory after %d messages divided by memory after %d", sent+w.Messages, w.Messages), float64(now)/float64(first), "x")
			add("rate of these messages", float64(sent+w.Messages)/time.Since(began).Seconds(), "messages/s")
		}
	}
	return nil
}
