package savemail

import (
	"context"
	"time"
)

// An Expirer is a Store that can delete old messages (GM_KEEP_HOURS). If several
// daemons use one database, only one of them deletes at once.
type Expirer interface {
	// Expire deletes one small piece of the messages that arrived before a time. The
	// Committer calls it from one goroutine, also while Saves are running, and calls it
	// again soon if there is more to delete.
	Expire(ctx context.Context, before time.Time) (Expired, error)
}

// Expired is the result of one call of Expire.
type Expired struct {
	Rows   int       // deleted rows or files
	More   bool      // more messages may be old enough
	Oldest time.Time // date of the oldest message that is left, zero if it is unknown or there is none
}

// MinKeep is the shortest time that a message is kept. It is longer than the time in
// which a store looks up a message whose outcome is unknown.
const MinKeep = time.Hour

// As returns the store, or the store that it wraps, as a T.
func As[T any](s Store) (t T, ok bool) {
	for s != nil {
		if t, ok = s.(T); ok {
			return t, true
		}
		wrapper, wraps := s.(interface{ Unwrap() Store })
		if !wraps {
			break
		}
		s = wrapper.Unwrap()
	}
	return t, false
}
