package metrics

import (
	"fmt"
	"strings"
	"time"

	"goguerrillad/internal/commit"
)

// A condition states whether the daemon accepts messages.
type condition struct {
	Class  string // of CSS: ok, warning or error
	Title  string
	Reason string // "" if the daemon accepts messages
}

func (m *Server) condition() condition {
	store, space := m.sources.Health(), m.sources.Space()
	switch {
	case space.Full:
		reason := "free space below GM_MIN_FREE"
		if space.Free >= space.Min {
			reason = "free space not yet an eighth above GM_MIN_FREE"
		}
		return condition{"error", "Not accepting messages", reason + ", replying 452: " + free(space)}
	case !store.Up && !store.Checked:
		return condition{"warning", "Starting", "store not checked yet"}
	case !store.Up && !store.Refusing:
		return condition{"warning", "Messages wait", "store unavailable " + store.Outage()}
	case !store.Up:
		return condition{"error", "Not accepting messages", "store unavailable " + store.Outage()}
	case m.sources.Full():
		return condition{"error", "Refusing connections", "client limit reached"}
	}
	return condition{Class: "ok", Title: "Accepting messages"}
}

func free(s commit.Space) string {
	return fmt.Sprintf("%s free, minimum %s", size(float64(s.Free)), size(float64(s.Min)))
}

// certificateWarning is how long before its end a certificate needs attention.
const certificateWarning = 14 * 24 * time.Hour

// warnings returns what an operator should change before messages are refused. The log
// has the details, which could contain addresses.
func (m *Server) warnings(config Config, now time.Time, reloadRefused bool) (all []string) {
	if space := m.sources.Space(); low(space) {
		all = append(all, "Little free space: "+free(space)+".")
	}
	for _, c := range config.certificates() {
		switch left := c.Ends.Sub(now); {
		case left <= 0:
			all = append(all, fmt.Sprintf("The certificate of %s (%s) has ended.", c.Name, c.Key))
		case left < certificateWarning:
			all = append(all, fmt.Sprintf("The certificate of %s (%s) ends in %s.", c.Name, c.Key, age(left)))
		}
	}
	if reloadRefused {
		all = append(all, "The last reload was refused: the daemon uses the configuration that it loaded before. goguerrillad -t shows the error.")
	}
	if config.RedisUp != nil && !config.RedisUp() {
		all = append(all, "Redis is unavailable: messages are stored in the database only.")
	}
	if m.sources.Recipients().Failing != nil {
		all = append(all, "GM_RECIPIENT_QUERY fails: recipients without a cached answer wait or receive 451. The log has the error.")
	}
	if n := m.sources.Server().Waiting; n > 0 {
		all = append(all, "Sessions that are waiting for memory (GSMTP_MEMORY): "+number(n)+".")
	}
	if err := m.sources.Retention().Err; err != nil {
		all = append(all, "Old messages were not deleted: "+err.Error()+".")
	}
	return all
}

// A pair is a value with its name.
type pair struct{ Name, Value string }

// A group is a list of values with a heading.
type group struct {
	Title string
	Pairs []pair
}

// groups returns the lists of the page, without those that are empty.
func (m *Server) groups(config Config, now time.Time) (all []group) {
	for _, g := range []group{
		{"Storage", m.storage(config, now)},
		{"Certificates", certificatePairs(config, now)},
		{"Since the start", m.totals()},
		{"Refused or failed since the start", m.failures()},
		{"Daemon", m.program(now)},
	} {
		if len(g.Pairs) > 0 {
			all = append(all, g)
		}
	}
	return all
}

func (m *Server) storage(config Config, now time.Time) []pair {
	store := m.sources.Health()
	all := []pair{{"Store", config.Store + ", " + available(store.Up || store.Full)}, {"Since", stamp(store.Since)}}
	if !store.Up && !store.Checked {
		all = []pair{{"Store", config.Store + ", not checked yet"}}
	}
	if config.RedisUp != nil {
		all = append(all, pair{"Redis", available(config.RedisUp())})
	}
	if s := m.sources.Space(); s.Known {
		all = append(all, pair{"Free space", free(s)})
	}
	r := m.sources.Retention()
	if r.Keep == 0 {
		return append(all, pair{"Messages are kept", "until another program deletes them"})
	}
	all = append(all, pair{"Messages are kept", "for " + age(r.Keep)}, pair{"Deleted since the start", number(r.Deleted)})
	if !r.Oldest.IsZero() {
		all = append(all, pair{"Oldest message", stamp(r.Oldest) + ", " + age(now.Sub(r.Oldest)) + " ago"})
	}
	return all
}

func available(up bool) string {
	if up {
		return "available"
	}
	return "unavailable"
}

func certificatePairs(config Config, now time.Time) (all []pair) {
	for _, c := range config.certificates() {
		left := "ended"
		if c.Ends.After(now) {
			left = "in " + age(c.Ends.Sub(now))
		}
		all = append(all, pair{c.Name + ", " + c.Key, stamp(c.Ends) + ", " + left})
	}
	return all
}

func (m *Server) totals() []pair {
	c := m.sources.Committer()
	all := []pair{
		{"Messages stored", number(c.Messages)},
		{"Rows stored", number(c.Rows)},
		{"Size of the messages", size(float64(c.Bytes))},
	}
	if took, n := total(m.commitSeconds); n > 0 {
		rows, _ := total(m.commitRows)
		all = append(all, pair{"Average time of a transaction", seconds(took / float64(n))}, pair{"Average rows of a transaction", decimal(rows / float64(n))})
	}
	return all
}

func (m *Server) failures() (all []pair) {
	server, committer := m.sources.Server(), m.sources.Committer()
	for _, p := range []struct {
		name string
		n    uint64
	}{
		{"Connections: client limit", server.RefusedFull},
		{"Connections: limit per address", server.RefusedIP},
		{"Connections: PROXY header", server.RefusedHeaders},
		{"Messages: store unavailable", committer.Unavailable},
		{"Messages: too little free space", committer.Full},
		{"Messages: rejected by the store", committer.Rejected},
		{"Messages: refused permanently", committer.Refused},
		{"Messages: outcome unknown", committer.Unknown},
		{"Replies 550: recipient refused", m.replies[550].Load()},
		{"Replies 552: message too big", m.replies[552].Load()},
	} {
		if p.n > 0 {
			all = append(all, pair{p.name, number(p.n)})
		}
	}
	return all
}

func (m *Server) program(now time.Time) []pair {
	m.mu.Lock()
	reloaded := m.reloaded
	m.mu.Unlock()
	return []pair{
		{"Version", strings.TrimSpace(m.sources.Version + " " + m.sources.Commit)},
		{"Started", stamp(m.started)},
		{"Uptime", age(now.Sub(m.started))},
		{"Configuration loaded", stamp(reloaded)},
	}
}
