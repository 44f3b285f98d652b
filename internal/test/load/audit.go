package load

import "fmt"

// An Audit is the result of comparing all messages with the collected rows.
type Audit struct {
	Tried, Acknowledged, Stored int
	Lost                        int            // acknowledged, and a row is missing
	Duplicate                   int            // more rows than recipients, or a hash twice
	Partial                     int            // some rows, not all
	NeverSent                   int            // rows of messages that no client sent
	Unacknowledged              int            // stored, although the client did not receive 250
	Deferred                    int            // Unacknowledged messages for which the client received 4xx
	Temporary                   int            // replies 4xx
	Broken                      int            // connections that failed or ended
	Refused                     map[string]int // replies 5xx, by text
}

// Violations describes the messages that were lost, stored twice or in part, never sent,
// or refused. It returns "" if there are none.
func (a Audit) Violations() string {
	if a.Lost+a.Duplicate+a.Partial+a.NeverSent+len(a.Refused) == 0 {
		return ""
	}
	return fmt.Sprintf("%d acknowledged and lost, %d stored twice, %d stored in part, %d rows without a message, replies 5xx: %v",
		a.Lost, a.Duplicate, a.Partial, a.NeverSent, a.Refused)
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
			a.NeverSent++
		case len(hashes) > want:
			a.Duplicate++
		case len(hashes) < want:
			a.Partial++
		case l.acked[from] == "":
			a.Unacknowledged++
			if l.deferred[from] {
				a.Deferred++
			}
		}
		for _, h := range hashes {
			if seen[h] {
				a.Duplicate++
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
