package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
)

// expire deletes all messages that arrived before a time, and no other.
func expire(t *testing.T, h Harness) {
	store, ok := savemail.As[savemail.Expirer](h.Store)
	if !ok {
		return // the store keeps nothing
	}
	now := time.Now()
	before := now.Add(-2 * time.Hour)
	const old = 20 // messages with two recipients
	for i := range 2 * old {
		e := Envelope("Subject: x\r\n\r\ntext\r\n", "a@example.com", "b@example.com")
		for n := range e.To {
			e.To[n].Hash = fmt.Sprintf("%032x", 2*i+n)
		}
		if i < old {
			e.Date = now.Add(-72 * time.Hour) // with REDIS_MODE=store in MySQL, rows stay 26 hours longer
		} else {
			e.Date = now.Add(-time.Hour)
		}
		save(t, h.Store, e)
		for _, to := range e.To {
			if h.SetDate != nil {
				h.SetDate(t, to.Hash, e.Date)
			}
		}
	}
	h.rows(t, 4*old)
	for rows, calls := 0, 0; ; calls++ {
		expired, err := store.Expire(t.Context(), before)
		if h.CannotExpire != "" {
			if err == nil || !strings.Contains(err.Error(), h.CannotExpire) {
				t.Errorf("Expire returns %v, want an error with %q", err, h.CannotExpire)
			}
			h.rows(t, 4*old)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		rows += expired.Rows
		if expired.More && calls < 4*old {
			continue
		}
		if rows != 2*old {
			t.Errorf("%d rows deleted in %d calls, want %d", rows, calls+1, 2*old)
		}
		if d := now.Add(-time.Hour).Sub(expired.Oldest); d < -time.Second || d > 2*time.Second {
			t.Errorf("the oldest message is of %v, want %v", expired.Oldest, now.Add(-time.Hour))
		}
		break
	}
	left, _ := h.rows(t, 2*old)
	for _, r := range left {
		if r.Hash < fmt.Sprintf("%032x", 2*old) {
			t.Errorf("row %s is left", r.Hash)
		}
	}
}
