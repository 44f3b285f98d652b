package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/test/daemon"
)

// expirePairs is how many pairs of measurements, without and with the deletion of old rows,
// are made. Their order alternates.
const expirePairs = 9

// expiry is the part of a server that the probe of GM_KEEP_HOURS needs.
type expiry struct {
	// fill inserts n old rows.
	fill func(ctx context.Context, n int) error
	// keep sets GM_KEEP_HOURS.
	keep func(hours string)
	left func(ctx context.Context) (int, error) // counts the old rows
}

// expiring measures how long messages wait at half load while o.expire old rows are deleted,
// in comparison to the same load without.
func (b *bench) expiring(ctx context.Context, o options, s *server, add addProbe) error {
	if o.expire == 0 || s.expiry == nil {
		return nil
	}
	b.log("%s: insert %d old rows", s.name, o.expire)
	if err := s.expiry.fill(ctx, o.expire); err != nil {
		return fmt.Errorf("insert old rows: %w", err)
	}
	unix.Sync()
	full, err := b.rate(ctx, workloads(o.messages)[0], s)
	if err != nil {
		return err
	}
	var median, slow [2][]float64 // milliseconds, without and with
	deleted, during := 0, time.Duration(0)
	p := plan{Addr: s.addr, Do: doSend, Messages: o.messages, Sessions: 100, Size: 5000, Rate: full / 2}
	for i := range 2 * expirePairs {
		with := (i + i/2) % 2             // 0 1 1 0 0 1 …
		before, err := s.expiry.left(ctx) // first, since this long query would keep SQLite's WAL from being reused
		if err != nil {
			return err
		}
		s.expiry.keep([]string{"", "24"}[with])
		began := time.Now()
		got, _, err := p.run(ctx)
		if err != nil {
			return err
		}
		took := time.Since(began)
		s.expiry.keep("")
		after, err := s.expiry.left(ctx)
		if err != nil {
			return err
		}
		if with == 1 {
			if after == 0 {
				return fmt.Errorf("all %d old rows are deleted before the end: insert more", o.expire)
			}
			deleted, during = deleted+before-after, during+took
		}
		median[with] = append(median[with], milliseconds(got.wait(0.5)))
		slow[with] = append(slow[with], milliseconds(got.wait(0.99)))
		b.log("%s: deleting %v: median %.3g ms, 99th percentile %.3g ms, %d rows", s.name, with == 1, milliseconds(got.wait(0.5)), milliseconds(got.wait(0.99)), before-after)
	}
	const name = "at half of A's rate, deleting old rows: from the final dot to the 250, "
	add(name+"median", middle(median[1]), "ms")
	add(name+"99th percentile", middle(slow[1]), "ms")
	add(name+"median, divided by that without", middle(median[1])/middle(median[0]), "x")
	add(name+"99th percentile, divided by that without", middle(slow[1])/middle(slow[0]), "x")
	add("old rows deleted meanwhile", float64(deleted)/during.Seconds(), "rows/s")
	return nil
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// oldDate is the date of the old rows.
const oldDate = "'2020-01-01 00:00:00'"

// probeExpiry sets expiry of a server with a table. The statement addIndex builds the index on
// the random hashes after the rows, since inserting into it takes an hour.
func probeExpiry(s *server, h *harness, db *sql.DB, d *daemon.Daemon, dropIndex, addIndex string) {
	s.expiry = &expiry{
		fill: func(ctx context.Context, n int) error {
			if _, err := db.ExecContext(ctx, dropIndex); err != nil {
				return err
			}
			if err := s.fill(ctx, n, oldDate); err != nil {
				return err
			}
			_, err := db.ExecContext(ctx, addIndex)
			return err
		},
		keep: func(hours string) { d.Reload(h, map[string]string{"GM_KEEP_HOURS": hours}) },
		left: func(ctx context.Context) (n int, err error) {
			err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM new_mail WHERE date="+oldDate).Scan(&n)
			return n, err
		},
	}
}
