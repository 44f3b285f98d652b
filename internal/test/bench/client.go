package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A client executes one plan.
type client struct {
	plan
	begun    time.Time
	next     atomic.Int64 // number of the next message
	messages []message    // sent in this order, repeatedly
	tls      *tls.Config
	mu       sync.Mutex // guards the fields below
	outcome  outcome
	failures error
}

// execute executes the plan. With doHold it writes a line to out when all connections are
// open, and closes them at the end of in.
func (p plan) execute(in io.Reader, out io.Writer) (outcome, error) {
	c := &client{plan: p, begun: time.Now(), messages: constant(p.Size)}
	if p.Varied {
		c.messages = varied()
	}
	// The client does not verify the certificate, since only the server is measured.
	c.tls = &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: tls.VersionTLS13}
	if p.Resume {
		c.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	var sessions sync.WaitGroup
	held := make(chan struct{})
	for i := range p.Sessions {
		if p.Do == doHold {
			if err := c.hold(&sessions, held); err != nil {
				return outcome{}, err
			}
			continue
		}
		sessions.Go(func() { c.session(i) })
	}
	if p.Do == doHold {
		fmt.Fprintln(out, "held")
		_, err := io.Copy(io.Discard, in)
		close(held)
		sessions.Wait()
		return outcome{}, err
	}
	sessions.Wait()
	c.outcome.Wall = time.Since(c.begun)
	return c.outcome, c.failures
}

// hold opens a connection and keeps it open.
func (c *client) hold(sessions *sync.WaitGroup, held <-chan struct{}) error {
	p, err := c.connect(0)
	if err != nil {
		return err
	}
	sessions.Go(func() {
		<-held
		p.conn.Close()
	})
	return nil
}

// session sends messages until all are sent.
func (c *client) session(i int) {
	var o outcome
	err := c.converse(i, &o)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcome.add(o)
	c.failures = errors.Join(c.failures, err)
}

func (c *client) converse(i int, o *outcome) error {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	var p *peer
	defer func() {
		if p != nil {
			p.conn.Close()
		}
	}()
	for {
		n := int(c.next.Add(1)) - 1
		if n >= c.Messages {
			if p != nil {
				return p.quit()
			}
			return nil
		}
		if c.Rate > 0 {
			time.Sleep(time.Until(c.begun.Add(time.Duration(float64(n) / c.Rate * float64(time.Second)))))
		}
		if p == nil {
			var err error
			if p, err = c.connect(i); err != nil {
				return err
			}
			if p.resumed() {
				o.Resumed++
			}
		}
		if c.Do == doSend {
			if err := p.send(c.messages[n%len(c.messages)], c.style(n, random), o); err != nil {
				return fmt.Errorf("message %d: %w", n, err)
			}
		} else {
			o.Messages++
		}
		if !c.Keep {
			if err := p.quit(); err != nil {
				return err
			}
			p.conn.Close()
			p = nil
		}
	}
}

// connect opens a connection and waits for the reply to EHLO. With Varied every second
// session has a long round trip.
func (c *client) connect(i int) (*peer, error) {
	var dialer net.Dialer
	if c.From != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(c.From)}
	}
	conn, err := dialer.Dial("tcp", c.Addr)
	if err != nil {
		return nil, err
	}
	p := newPeer(conn)
	if c.Varied && i%2 == 1 {
		p.roundTrip = longRoundTrip
	}
	if c.Do == doHandshake {
		return p, p.handshake(c.tls)
	}
	if err := p.hello(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if c.TLS {
		if err := p.startTLS(c.tls); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return p, nil
}

// style returns how message n is sent. Without Varied all messages have the same style.
func (c *client) style(n int, random *rand.Rand) style {
	if !c.Varied {
		return style{recipients: 1}
	}
	return style{
		recipients: 1 + random.IntN(5),
		pipelining: n%3 == 1,
		chunks:     n%3 == 2,
		refused:    n%50 == 49,
	}
}
