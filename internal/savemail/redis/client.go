package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// Bounds of the backoff after Redis was unavailable or returned an error. The
// backoff doubles after each failure.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
)

// A client is the state of one Redis server and the connections to it. While
// the server is unavailable, only the prober connects to it, and no Save waits
// for it.
type client struct {
	options Options

	ctx    context.Context // close cancels it
	cancel context.CancelFunc
	prober sync.WaitGroup // the goroutine of probeUntilClose
	wake   chan struct{}  // wakes the prober when the server becomes unavailable

	mu          sync.Mutex
	idle        []*connection // at most one for each concurrent pipeline, and the prober's
	closed      bool
	connected   bool          // the prober has reached the server at least once
	unavailable bool          // until the prober reaches the server
	retryAt     time.Time     // no pipeline starts earlier; set after an error reply
	backoff     time.Duration // the last backoff, 0 after a pipeline without an error reply
	health      health
	warned      map[string]bool // the messages that warn has logged
}

func newClient(o Options) *client {
	c := &client{options: o, wake: make(chan struct{}, 1), warned: map[string]bool{}}
	c.health = health{log: o.Log, mode: o.mode(), healthy: true}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.prober.Go(c.probeUntilClose)
	return c
}

// pipeline sends n commands and reads their replies within the remaining time. It
// returns for each command whether Redis executed it, or nil if the server is
// unavailable. If an idle connection was dead, as after a restart of Redis, pipeline
// sends the commands again on another connection.
func (c *client) pipeline(remaining *time.Duration, n int, send func(redigo.Conn, int) error) []bool {
	if n == 0 {
		return nil
	}
	for {
		conn, reused, err := c.acquire(remaining)
		if err != nil {
			if !errors.Is(err, errBackoff) {
				c.setUnavailable(err)
			}
			return nil
		}
		executed, errorReply, err := conn.exchange(n, send)
		switch {
		case err == nil:
			c.release(conn)
			c.setAnswered(errorReply)
			return executed
		case reused && *remaining > 0:
			conn.Close()
			c.closeIdle() // they are probably dead as well
		default:
			conn.Close()
			c.setUnavailable(err)
			return nil
		}
	}
}

// errBackoff means that a pipeline must not connect now: the server is unavailable,
// the backoff after an error reply has not passed, or the client is closed.
var errBackoff = errors.New("redis unavailable or in backoff")

// acquire returns an idle connection or a new one, and whether it was idle. The
// reads and writes of the connection share the remaining time.
func (c *client) acquire(remaining *time.Duration) (conn *connection, reused bool, err error) {
	c.mu.Lock()
	if c.unavailable || c.closed || time.Now().Before(c.retryAt) {
		c.mu.Unlock()
		return nil, false, errBackoff
	}
	if last := len(c.idle) - 1; last >= 0 {
		conn, c.idle = c.idle[last], c.idle[:last]
	}
	c.mu.Unlock()
	if conn != nil {
		conn.socket.remaining = remaining
		return conn, true, nil
	}
	conn, err = connect(c.ctx, c.options, remaining, maxReplyBytes)
	return conn, false, err
}

// release keeps a connection as idle. It closes the connection if the client is
// closed or the server is unavailable.
func (c *client) release(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.unavailable {
		conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

func (c *client) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeIdleLocked()
}

func (c *client) closeIdleLocked() {
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle = nil
}

// setAnswered records that the server has replied. After an error reply, for example
// because the server's memory is full, no pipeline starts during the backoff.
func (c *client) setAnswered(errorReply error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errorReply == nil {
		c.backoff = 0
		c.health.setHealthy()
		return
	}
	c.backoff = nextBackoff(c.backoff)
	c.retryAt = time.Now().Add(c.backoff)
	c.health.setUnhealthy(errorReply)
}

// setUnavailable records that the server cannot be reached or does not reply,
// and wakes the prober.
func (c *client) setUnavailable(err error) {
	c.recordUnavailable(err)
	select {
	case c.wake <- struct{}{}:
	default: // a wake is pending
	}
}

func (c *client) recordUnavailable(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closeIdleLocked()
	c.unavailable = true
	c.health.setUnhealthy(err)
}

// probeUntilClose probes the server at the start and, with a backoff, while it is
// unavailable. It is the only goroutine of a client.
func (c *client) probeUntilClose() {
	for reached := c.probe(); ; reached = c.probe() {
		for backoff := minBackoff; !reached; backoff = nextBackoff(backoff) {
			select {
			case <-time.After(backoff):
				reached = c.probe()
			case <-c.ctx.Done():
				return
			}
		}
		for !c.isUnavailable() {
			select {
			case <-c.wake:
			case <-c.ctx.Done():
				return
			}
		}
	}
}

func nextBackoff(backoff time.Duration) time.Duration {
	return min(max(2*backoff, minBackoff), maxBackoff)
}

func (c *client) isUnavailable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unavailable
}

// probe connects to the server once, logs its unsafe settings, and reports whether
// the server is available.
func (c *client) probe() bool {
	remaining := saveTimeout
	conn, err := connect(c.ctx, c.options, &remaining, maxReplyBytes)
	if err == nil {
		if err = c.inspect(conn); err != nil {
			err = fmt.Errorf("read the server's settings: %w", err)
			conn.Close()
		}
	}
	if err != nil {
		c.recordUnavailable(err)
		return false
	}
	c.mu.Lock()
	c.unavailable = false
	c.health.setHealthy()
	if !c.connected {
		c.connected = true
		c.options.Log.Info("connected to Redis", "host", c.options.Host, "mode", c.options.mode())
	}
	c.mu.Unlock()
	c.release(conn)
	return true
}

// close ends the prober and closes the connections. No pipeline may be running.
func (c *client) close() {
	c.mu.Lock()
	c.closed = true
	c.closeIdleLocked()
	c.mu.Unlock()
	c.cancel()
	c.prober.Wait()
}
