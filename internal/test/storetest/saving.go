package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

func contextEnded(t *testing.T, h Harness) {
	save(t, h.Store, Envelope(text, "a@example.com"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := Envelope(text, "b@example.com")
	errs := h.Store.Save(ctx, []*envelope.Envelope{e})
	if h.Rows == nil {
		return
	}
	if len(errs) != 1 || errs[0] == nil || errors.Is(errs[0], savemail.ErrUnknown) || errors.Is(errs[0], savemail.ErrRejected) {
		t.Errorf("Save with a context that has ended: %v, want an error that is neither ErrUnknown nor ErrRejected", errs)
	}
	h.rows(t, 1)
	save(t, h.Store, e)
	h.rows(t, 2)
}

// timeEnds ends the context of Save before the first, the second and each later check of
// the context by the store, and compares the outcomes with the rows.
func timeEnds(t *testing.T, h Harness) {
	save(t, h.Store, Envelope(text, "first@example.com"))
	for n := range 100 {
		sent := []*envelope.Envelope{
			Envelope(text, "a@example.com"),
			Envelope(text, "b@example.com", "c@example.com", "d@example.com"),
			Envelope(text, "e@example.com"),
		}
		errs := h.Store.Save(endAfter(t, n), sent)
		if len(errs) != len(sent) {
			t.Fatalf("Save of %d envelopes returned %d outcomes", len(sent), len(errs))
		}
		if h.Rows != nil {
			h.compare(t, sent, errs)
		}
		if errors.Join(errs...) == nil {
			return // the store did not check the context again
		}
	}
	t.Error("no Save succeeded")
}

// compare requires all rows of an envelope whose outcome is nil, and no row if the outcome
// is an error other than ErrUnknown.
func (h *Harness) compare(t *testing.T, sent []*envelope.Envelope, errs []error) {
	t.Helper()
	stored := map[string]bool{}
	for _, row := range h.Rows(t) {
		stored[row.Hash] = true
	}
	for i, e := range sent {
		rows := 0
		for _, to := range e.To {
			if stored[to.Hash] {
				rows++
			}
		}
		switch err := errs[i]; {
		case err == nil && rows < len(e.To),
			err != nil && !errors.Is(err, savemail.ErrUnknown) && rows > 0:
			t.Errorf("envelope %d: %d of %d rows, outcome %v", i, rows, len(e.To), err)
		}
	}
}

// A countingContext is a context that ends after a number of calls of Err.
type countingContext struct {
	context.Context
	end  context.CancelFunc
	left atomic.Int64
}

func endAfter(t *testing.T, calls int) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	c := &countingContext{Context: ctx, end: cancel}
	c.left.Store(int64(calls))
	return c
}

func (c *countingContext) Err() error {
	if c.left.Add(-1) < 0 {
		c.end()
	}
	return c.Context.Err()
}

func concurrent(t *testing.T, h Harness) {
	const writers, batches, size = 4, 10, 5
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for b := range batches {
				var sent []*envelope.Envelope
				for i := range size {
					sent = append(sent, Envelope(text, fmt.Sprintf("u%d.%d.%d@example.com", w, b, i)))
				}
				for _, err := range h.Store.Save(t.Context(), sent) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if rows, ok := h.rows(t, writers*batches*size); ok {
		seen := map[string]bool{}
		for _, r := range rows {
			seen[r.Hash] = true
		}
		if len(seen) != len(rows) {
			t.Errorf("%d different hashes in %d rows, want no duplicate", len(seen), len(rows))
		}
	}
}

func reopen(t *testing.T, h Harness) {
	if h.Reopen == nil {
		return // a store that keeps nothing
	}
	first, second := Envelope(text, "b@example.com"), Envelope(text, "c@example.com")
	save(t, h.Store, first)
	if err := h.Store.Close(); err != nil {
		t.Fatal(err)
	}
	s := h.Reopen(t)
	defer s.Close()
	save(t, s, second)
	if rows, ok := h.rows(t, 2); ok {
		h.check(t, rows[0], first, 0)
		h.check(t, rows[1], second, 0)
	}
}

func reader(t *testing.T, h Harness) {
	if h.Reader == nil {
		return // a store that keeps nothing
	}
	begin := time.Now()
	older := Envelope(text, "b@example.com", "c@example.com")
	newer := Envelope("Subject: newer\r\n\r\n\x00\xff", "d@example.com")
	save(t, h.Store, older)
	save(t, h.Store, newer)
	r := h.Reader(t)
	defer r.Close()
	list, err := r.List(t.Context(), savemail.Filter{N: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("List(2) returned %d messages, want 2", len(list))
	}
	if rows, ok := h.rows(t, 3); !ok || h.MailsOnly || rows[0].has("mail_id", "date", "from", "subject") {
		if m := list[0]; m.Hash != newer.To[0].Hash || m.From != newer.From || m.To != "d@example.com" || m.Subject != "newer" {
			t.Errorf("the newest message is %+v, want %s", m, newer.To[0].Hash)
		}
		if list[1].Hash != older.To[1].Hash {
			t.Errorf("the second message is %+v, want %s", list[1], older.To[1].Hash)
		}
		if age := list[0].Date.Sub(begin); age < -2*time.Second || age > timeout {
			t.Errorf("date %v, saved after %v", list[0].Date, begin)
		}
		if want := int64(newer.BlobSize(0)); !h.Compressed && list[0].Size != want {
			t.Errorf("size %d, want %d", list[0].Size, want)
		}
	}
	for _, e := range []*envelope.Envelope{older, newer} {
		for i, to := range e.To {
			mail, err := r.Show(t.Context(), to.Hash)
			if err != nil {
				t.Fatal(err)
			}
			if string(mail) != string(e.AppendBlob(nil, i)) {
				t.Errorf("Show(%s) is %q, want the message", to.Hash, mail)
			}
		}
	}
	if _, err := r.Show(t.Context(), Hash(9)); !errors.Is(err, savemail.ErrNotFound) {
		t.Errorf("Show of an unknown hash: %v, want ErrNotFound", err)
	}
}
