// Package smtpd is the server: it accepts connections, moves bytes between
// sockets and sessions, and hands complete messages to be saved. It knows no
// SMTP verb but the 421 of a full server.
//
// A few event loops do all the work, each on a thread of its own (loop.go). A
// connection belongs to the loop that accepted it (accept.go) until it is
// closed; what happens to it (conn.go) happens on that thread, without locks.
// What takes time elsewhere, the saving of a message, a question about a
// recipient, a shake of hands, the wait for memory, comes back to the loop as a note (inbox.go).
//
// The way of a mail: loop.accept → conn.readable → conn.proceed → conn.save →
// Options.Save … → loop.post → conn.outcome → conn.proceed.
package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
)

// Options is what a server is made of.
type Options struct {
	// Loops is the number of event loops; 0 means one for two CPUs.
	Loops int
	// World is what the sessions share; its settings give the timeout of a
	// command and the size of a message to the server as well.
	World *session.World
	// Save takes a message over and returns at once. It calls done once, from
	// any goroutine, with nil when the message is durable. Behind done nobody
	// may touch the envelope's buffer: its memory may have left the process.
	// At most one message of each session is under way.
	Save func(e *envelope.Envelope, done func(error))
	// Settings are the first ones; Reload changes them.
	Settings Settings
}

// Settings is what the server itself obeys. A reload may change all of it.
type Settings struct {
	MaxClients      int         // sessions at a time, 1 or more
	MaxClientsPerIP int         // sessions of one address at a time (an IPv6 /64); 0 is no limit
	Memory          int64       // bytes of message buffers at a time; messages that cannot fit are answered 452
	TLS             *tls.Config // for STARTTLS; nil when it is not offered
	ProxyProtocol   bool        // peers that World's settings trust have to begin with a PROXY header
}

// A Server serves SMTP on listening sockets. Its methods may be called from
// any goroutine.
type Server struct {
	world    *session.World
	save     func(*envelope.Envelope, func(error))
	log      *slog.Logger
	settings atomic.Pointer[Settings]
	ids      atomic.Uint64
	doors    doors
	budget   budget
	counters counters
	starved  atomic.Bool // accept fails for want of descriptors; the log has been told

	mu       sync.Mutex // for what follows
	loops    []*loop
	wanted   int // number of loops
	running  sync.WaitGroup
	ended    chan struct{}
	stopping bool
}

// New returns a server that serves nothing yet.
func New(o Options) (*Server, error) {
	if o.World == nil || o.Save == nil {
		return nil, errors.New("smtpd: World and Save must be given")
	}
	s := &Server{
		world:  o.World,
		save:   o.Save,
		log:    o.World.Log,
		wanted: o.Loops,
		ended:  make(chan struct{}),
	}
	if s.wanted <= 0 {
		s.wanted = DefaultLoops()
	}
	s.doors.perIP = make(map[netip.Addr]int)
	s.ids.Store(randomStart())
	s.Reload(o.Settings)
	return s, nil
}

// DefaultLoops returns how many loops a server has if Options.Loops is 0.
func DefaultLoops() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// Reload replaces the settings. Sessions go on. Call it as well when World's
// settings have changed: the timeout and the size of a message are there.
func (s *Server) Reload(settings Settings) {
	if settings.TLS != nil && settings.TLS.MinVersion < tls.VersionTLS12 {
		settings.TLS = settings.TLS.Clone()
		settings.TLS.MinVersion = tls.VersionTLS12
	}
	s.settings.Store(&settings)
	s.budget.configure(settings.Memory, s.world.Settings().MaxSize)
	s.tell(func(*loop) {}) // come round, and see what is due by the new timeout
}

// Start begins to serve listening descriptors and returns. They may be TCP or
// unix stream sockets, bound here or inherited; they are never closed or shut
// down, since a service manager may hold the same ones.
func (s *Server) Start(listeners []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loops != nil || s.stopping {
		return errors.New("smtpd: already started")
	}
	if err := prepareListeners(listeners); err != nil {
		return err
	}
	for range s.wanted {
		l, err := newLoop(s, listeners)
		if err != nil {
			for _, l := range s.loops {
				l.closeFiles()
			}
			s.loops = nil
			return fmt.Errorf("smtpd: %w", err)
		}
		s.loops = append(s.loops, l)
	}
	for _, l := range s.loops {
		s.running.Go(l.run)
	}
	go func() {
		s.running.Wait()
		close(s.ended)
	}()
	return nil
}

// Relisten accepts on other listening descriptors from now on. When it returns
// nil, those of before are in no use any more; sessions go on.
func (s *Server) Relisten(listeners []int) error {
	if err := prepareListeners(listeners); err != nil {
		return err
	}
	s.mu.Lock()
	results := make(chan error, len(s.loops))
	for _, l := range s.loops {
		l.post(note{run: func(l *loop) { results <- l.relisten(listeners) }})
	}
	s.mu.Unlock()
	for range cap(results) {
		select {
		case err := <-results:
			if err != nil {
				return fmt.Errorf("smtpd: %w", err)
			}
		case <-s.ended:
			return nil
		}
	}
	return nil
}

// prepareListeners makes listening sockets ready for the loops.
func prepareListeners(fds []int) error {
	for _, fd := range fds {
		if err := prepareListener(fd); err != nil {
			return fmt.Errorf("smtpd: prepare listening socket %d: %w", fd, err)
		}
	}
	return nil
}

// prepareListener makes a listening socket ready for the loops: accept4 must
// not block, and connections inherit TCP_NODELAY.
func prepareListener(fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("make it non-blocking: %w", err)
	}
	// A unix socket has no such option, and none of them needs it to work.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return nil
}

// Shutdown drains the server: nobody is accepted any more, idle sessions get
// 421 and are closed, transactions in flight finish, but are cut with 421 when
// they make no progress for drainPatience, or when ctx is done. It returns nil
// when all sessions ended by themselves, else the error of ctx. The listening
// sockets stay open.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	started := s.loops != nil
	s.stopping = true
	s.mu.Unlock()
	if !started {
		return nil
	}
	// No loop listens any more when the first client is told to go.
	if err := s.Relisten(nil); err != nil {
		return err
	}
	s.tell((*loop).drain)
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		s.tell((*loop).cut)
		<-s.ended
		return fmt.Errorf("smtpd: drain: %w", context.Cause(ctx))
	}
}

// Ping returns nil when every loop has come round since the call: proof of
// life for a watchdog.
func (s *Server) Ping(ctx context.Context) error {
	s.mu.Lock()
	n := len(s.loops)
	s.mu.Unlock()
	answers := make(chan struct{}, n)
	s.tell(func(*loop) { answers <- struct{}{} })
	for range n {
		select {
		case <-answers:
		case <-s.ended:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("smtpd: a loop does not answer: %w", context.Cause(ctx))
		}
	}
	return nil
}

// tell has every loop run f on its own thread.
func (s *Server) tell(f func(*loop)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		l.post(note{run: f})
	}
}

// timeout is the time for one command, as the settings have it now.
func (s *Server) timeout() time.Duration {
	return max(s.world.Settings().Timeout, time.Millisecond)
}
