package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// Bounds of the pause in which a Redis that is away, or refuses, is left
// alone. They double from one to the other.
const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

// client is what is known of one Redis, and the connections to it. One that
// cannot be reached or does not answer is looked for by the attendant alone;
// until it is found, nobody waits for it.
type client struct {
	options Options

	life      context.Context // until close
	end       context.CancelFunc
	attendant sync.WaitGroup
	poke      chan struct{} // wakes the attendant: Redis has got away

	mu     sync.Mutex
	idle   []*conn // at most one for each Save that runs at a time, and the attendant's
	closed bool
	found  bool          // the attendant has seen it once
	away   bool          // the attendant looks for it
	retry  time.Time     // it answers, but has refused; to be asked again from then on
	pause  time.Duration // the last one for that
	health health
	warned map[string]bool // a few fixed warnings
}

func newClient(o Options) *client {
	c := &client{options: o, poke: make(chan struct{}, 1), warned: map[string]bool{}}
	c.health = health{log: o.Log, inPlace: o.InPlace, up: true}
	c.life, c.end = context.WithCancel(context.Background())
	c.attendant.Go(c.attend)
	return c
}

// pipeline sends n commands and reads their replies while there is patience
// left. It returns which of them Redis has carried out: none while it is not
// to be asked. Commands are sent a second time if a connection that was kept
// turns out to be dead, as after a restart of Redis.
func (c *client) pipeline(left *time.Duration, n int, send func(redigo.Conn, int) error) []bool {
	if n == 0 {
		return nil
	}
	for {
		kn, kept, err := c.acquire(left)
		if err != nil {
			if !errors.Is(err, errLeftAlone) {
				c.lose(err)
			}
			return nil
		}
		done, refusal, err := kn.exchange(n, send)
		switch {
		case err == nil:
			c.release(kn)
			c.answered(refusal)
			return done
		case kept && *left > 0:
			kn.Close()
			c.drop() // they are as old
		default:
			kn.Close()
			c.lose(err)
			return nil
		}
	}
}

// errLeftAlone: Redis is not to be asked now.
var errLeftAlone = errors.New("redis is left alone for now")

// acquire returns a connection with so much patience, and whether it was kept
// from before.
func (c *client) acquire(left *time.Duration) (kn *conn, kept bool, err error) {
	c.mu.Lock()
	if c.away || c.closed || time.Now().Before(c.retry) {
		c.mu.Unlock()
		return nil, false, errLeftAlone
	}
	if last := len(c.idle) - 1; last >= 0 {
		kn, c.idle = c.idle[last], c.idle[:last]
	}
	c.mu.Unlock()
	if kn != nil {
		kn.socket.left = left
		return kn, true, nil
	}
	kn, err = connect(c.life, c.options, left, replyMost)
	return kn, false, err
}

// release keeps a connection for the next.
func (c *client) release(kn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.away {
		kn.Close()
		return
	}
	c.idle = append(c.idle, kn)
}

// drop closes the connections that are kept.
func (c *client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked()
}

func (c *client) dropLocked() {
	for _, kn := range c.idle {
		kn.Close()
	}
	c.idle = nil
}

// answered takes note that Redis has carried out what it was asked, or, with
// a reason that it gave, has not: its memory is full, it only reads, it does
// not know us.
func (c *client) answered(refusal error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if refusal == nil {
		c.pause = 0
		c.health.rise()
		return
	}
	c.pause = nextPause(c.pause)
	c.retry = time.Now().Add(c.pause)
	c.health.fall(refusal)
}

// lose has the attendant look for Redis.
func (c *client) lose(err error) {
	c.fell(err)
	select {
	case c.poke <- struct{}{}:
	default: // it has been told
	}
}

func (c *client) fell(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.dropLocked()
	c.away = true
	c.health.fall(err)
}

// attend looks for Redis at the start, so that its settings are known, and
// whenever it has got away. It is the one goroutine of a client.
func (c *client) attend() {
	for found := c.comeBack(); ; found = c.comeBack() {
		for pause := minPause; !found; pause = nextPause(pause) {
			select {
			case <-time.After(pause):
				found = c.comeBack()
			case <-c.life.Done():
				return
			}
		}
		for !c.isAway() {
			select {
			case <-c.poke:
			case <-c.life.Done():
				return
			}
		}
	}
}

func nextPause(pause time.Duration) time.Duration { return min(max(2*pause, minPause), maxPause) }

func (c *client) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

// comeBack tries once to reach Redis, and has it used again when it answers.
func (c *client) comeBack() bool {
	left := patience
	kn, err := connect(c.life, c.options, &left, replyMost)
	if err == nil {
		if err = c.inspect(kn); err != nil {
			err = fmt.Errorf("look at its settings: %w", err)
			kn.Close()
		}
	}
	if err != nil {
		c.fell(err)
		return false
	}
	c.mu.Lock()
	c.away = false
	c.health.rise()
	if !c.found {
		c.found = true
		c.options.Log.Info("Redis is in use", "host", c.options.Host, "in_place", c.options.InPlace)
	}
	c.mu.Unlock()
	c.release(kn)
	return true
}

// close ends the attendant and the connections. No pipeline is running then.
func (c *client) close() {
	c.mu.Lock()
	c.closed = true
	c.dropLocked()
	c.mu.Unlock()
	c.end()
	c.attendant.Wait()
}
