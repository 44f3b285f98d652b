// Package statuspage generates status pages of a simulated daemon in several states, with
// figures that look like a day of use. TestStatusPage of package e2e writes pictures of them
// to build/pages; docs/status.png is the upper part of day-desktop-light.png in 32 colors.
package statuspage

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
)

// A State is a status page with a name and a text that the page contains.
type State struct{ Name, Text, Page string }

// States returns the pages of a daemon that has just started, that has been busy for a
// day, whose certificate is about to end, whose disk is full, and whose store is down.
func States(t *testing.T) (states []State) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 6, 9, 14, 2, 7, 0, time.UTC)))
		s := start()
		defer s.Close()
		show := func(name, text string) {
			synctest.Wait()
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("GET", "/?pause", nil))
			states = append(states, State{name, text, w.Body.String()})
		}
		time.Sleep(2 * time.Second) // so that no change is at the same time as a sample
		show("fresh", "Accepting messages")
		s.run(24 * time.Hour)
		show("day", "Accepting messages")
		s.change(func() {
			s.config.Certificates[1].Ends = time.Now().Add(5*24*time.Hour + time.Hour)
			s.redisUp, s.space.Free = false, 200<<20
			s.recipients.Failing = errors.New("connection refused")
			s.server.Waiting = 3
			s.retention.Err = errors.New("connection refused")
		})
		s.Reloaded(errors.New("no such file"))
		s.run(time.Minute)
		show("certificate", "ends in 5 days")
		s.change(func() { s.space.Full, s.space.Free = true, 61<<20 })
		s.run(2 * time.Minute)
		show("full", "Not accepting messages")
		s.change(func() {
			s.space.Full, s.space.Free = false, 38<<30
			s.health = commit.Health{Checked: true, Refusing: true, Since: time.Now(), Last: errors.New("dial tcp 192.0.2.7:3306: connect: connection refused")}
		})
		s.run(3 * time.Minute)
		show("down", "Not accepting messages")
	})
	return states
}

// A simulation is a metrics server with figures of its own.
type simulation struct {
	*metrics.Server
	random *rand.Rand
	began  time.Time

	mu         sync.Mutex // guards the rest
	server     smtpd.Stats
	committer  commit.Counters
	recipients recipient.Stats
	health     commit.Health
	config     metrics.Config
	retention  commit.Retention
	space      commit.Space
	redisUp    bool
}

func start() *simulation {
	now := time.Now()
	s := &simulation{
		random: rand.New(rand.NewPCG(1, 2)), began: now, redisUp: true,
		health:    commit.Health{Checked: true, Up: true, Since: now},
		retention: commit.Retention{Keep: 30 * 24 * time.Hour, Oldest: now.Add(-30 * 24 * time.Hour)},
		space:     commit.Space{Known: true, Free: 38 << 30, Min: 64 << 20},
		config: metrics.Config{
			Host: "mx.example.com", MaxClients: 500, Memory: 256 << 20, Store: "sqlite",
			Certificates: []metrics.Certificate{
				{Name: "mx.example.com", Key: "ECDSA", Ends: now.Add(61 * 24 * time.Hour)},
				{Name: "mx.example.com", Key: "RSA", Ends: now.Add(47 * 24 * time.Hour)},
			},
		},
	}
	s.config.RedisUp = func() bool { return get(s, &s.redisUp) }
	s.Server = metrics.New(metrics.Sources{
		Version: "1.4.0", Commit: "0123456789ab",
		Server:     func() smtpd.Stats { return get(s, &s.server) },
		Committer:  func() commit.Counters { return get(s, &s.committer) },
		Recipients: func() recipient.Stats { return get(s, &s.recipients) },
		Health:     func() commit.Health { return get(s, &s.health) },
		Full:       func() bool { return false },
		Config:     func() metrics.Config { return get(s, &s.config) },
		Retention:  func() commit.Retention { return get(s, &s.retention) },
		Space:      func() commit.Space { return get(s, &s.space) },
	})
	s.Start()
	return s
}

func get[V any](s *simulation, v *V) V {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *v
}

func (s *simulation) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// run simulates the clients for a time.
func (s *simulation) run(length time.Duration) {
	for end := time.Now().Add(length); time.Now().Before(end); {
		s.step()
	}
}

// step simulates 5 s: more messages at noon than at night, and every third hour a peak with
// slow commits and refused recipients.
func (s *simulation) step() {
	next := time.Now().Add(5 * time.Second)
	hour := time.Since(s.began).Hours() + 14
	rate := 14 - 11*math.Cos((hour-2)/12*math.Pi)
	peak := math.Mod(hour+2.6, 5) < 0.3
	if peak {
		rate *= 2.5
	}
	stored := int(5 * rate * (0.7 + 0.6*s.random.Float64()))
	refused := s.random.IntN(2 + stored/20)
	if peak {
		refused += stored / 2
	}
	later := 0
	down := !get(s, &s.health).Up || get(s, &s.space).Full
	if down {
		later, stored = stored, 0
	} else if s.random.IntN(40) == 0 {
		later = 1 + s.random.IntN(3)
	}
	for code, n := range map[int]int{220: stored + refused, 250: 4 * stored, 354: stored, 550: refused, 451: later, 221: stored} {
		for range n {
			s.Replied(smtp.Reply{Code: code})
		}
	}
	s.change(func() {
		s.server.Sessions = int64(rate*(1+s.random.Float64())) + int64(refused)/4
		s.server.Memory = int64(float64(s.server.Sessions) * 400e3 * (0.5 + s.random.Float64()))
		s.committer.Messages += uint64(stored)
		s.committer.Rows += uint64(stored + stored/8)
		s.committer.Bytes += uint64(stored) * 61_000
		s.committer.Unavailable += uint64(later)
		s.retention.Deleted += uint64(stored)
		s.retention.Oldest = time.Now().Add(-s.retention.Keep)
	})
	if stored > 0 {
		s.Committed(3*time.Millisecond, 1+stored/20)
		s.commits(peak)
	}
	time.Sleep(time.Until(next))
}

// commits simulates the durations of some commits.
func (s *simulation) commits(slow bool) {
	took := make([]time.Duration, 40)
	done := make([]func(error), len(took))
	for i := range took {
		spread := math.Exp(0.5 * s.random.NormFloat64())
		if slow {
			spread *= 4
		}
		if s.random.IntN(60) == 0 {
			spread *= 6
		}
		took[i] = time.Duration(2.4e6 * spread)
		done[i] = s.Timed(func(error) {})
	}
	slices.Sort(took)
	began := time.Now()
	for i := range took {
		time.Sleep(time.Until(began.Add(took[i])))
		done[i](nil)
	}
}
