package load

import (
	"fmt"
)

// An Audit compares all messages with the rows that Collect has read.
type Audit struct {
	Tried, Acknowledged, Stored int
	Lost                        int // acknowledged, and a row is missing
	Doubled                     int // more rows than recipients, or a hash twice
	Partial                     int // some rows, not all
	Strange                     int // rows of messages that no client sent
	Unasked                     int // stored, although the client did not receive 250
	Deferred                    int // of these, the client has received 4xx
	Temporary, Broken           int
	Refused                     map[string]int // replies 5xx
}

// Wrong describes violations of the promise, "" if there are none.
func (a Audit) Wrong() string {
	if a.Lost+a.Doubled+a.Partial+a.Strange+len(a.Refused) == 0 {
		return ""
	}
	return fmt.Sprintf("%d acknowledged and lost, %d doubled, %d stored in part, %d from nowhere, refused for good: %v",
		a.Lost, a.Doubled, a.Partial, a.Strange, a.Refused)
}

// Audit compares the collected rows with the replies to the clients.
func (l *Load) Audit() Audit {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := Audit{Tried: len(l.tried), Acknowledged: len(l.acked), Stored: len(l.rows),
		Temporary: l.temporary, Broken: l.broken, Refused: l.refused}
	seen := make(map[string]bool)
	for from, hashes := range l.rows {
		want, known := l.tried[from]
		switch {
		case !known:
			a.Strange++
		case len(hashes) > want:
			a.Doubled++
		case len(hashes) < want:
			a.Partial++
		case l.acked[from] == "":
			a.Unasked++
			if l.deferred[from] {
				a.Deferred++
			}
		}
		for _, h := range hashes {
			if seen[h] {
				a.Doubled++
			}
			seen[h] = true
		}
	}
	for from, hash := range l.acked {
		if len(l.rows[from]) < l.tried[from] || !seen[hash] {
			a.Lost++
		}
	}
	return a
}
