// Package smtpd is the SMTP server: it accepts connections, moves bytes between
// sockets and sessions, and passes complete messages to Options.Save. Package
// session implements the SMTP verbs.
//
// A few event loops do the work, each on its own thread (loop.go). A connection
// belongs to the loop that accepted it (accept.go) until it is closed, and only
// that thread uses it (conn.go), so it needs no locks. Saving a message, looking
// up a recipient, a TLS handshake and a wait for memory take place elsewhere;
// their results return to the loop as notes (inbox.go).
//
// The path of a message: loop.accept → conn.readable → conn.proceed → conn.save
// → Options.Save … → loop.post → conn.saved → conn.proceed.
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

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
)

// Options configures a new server.
type Options struct {
	// Loops is the number of event loops; 0 is one loop per two CPUs.
	Loops int
	// Environment is shared by all sessions. The server also uses the timeout of a
	// command and the maximum size of a message from its settings.
	Environment *session.Environment
	// Save accepts a message and returns immediately. It calls done once, from any
	// goroutine, with nil when the message is durable. After done is called, Save
	// must not use the envelope's buffer, which may be unmapped. A session
	// never saves two messages concurrently.
	Save func(e *envelope.Envelope, done func(error))
	// Settings are in force until Reload replaces them.
	Settings Settings
}

// Settings is the configuration of the server itself. A reload may change all
// of it.
type Settings struct {
	MaxClients      int         // concurrent sessions, 1 or more
	MaxClientsPerIP int         // concurrent sessions of one client address (an IPv6 /64); 0 means no limit
	Memory          int64       // bytes of all message buffers together; beyond it, sessions wait and then reply 452
	TLS             *tls.Config // raised to TLS 1.2 at least; nil if there is no certificate
	ProxyProtocol   bool        // trusted peers must send a PROXY header before the greeting
}

// A Server serves SMTP on listening sockets. Its methods may be called from
// any goroutine.
type Server struct {
	environment *session.Environment
	save        func(*envelope.Envelope, func(error))
	log         *slog.Logger
	settings    atomic.Pointer[Settings]
	ids         atomic.Uint64
	limiter     limiter
	budget      budget
	counters    counters

	recentHandshakes atomic.Int64 // completed since the last period of many handshakes ended (heap.go)

	acceptFailing atomic.Bool // an error was logged, and no connection was accepted since

	mu        sync.Mutex // guards the fields below
	loops     []*loop
	loopCount int // number of loops to start
	running   sync.WaitGroup
	done      chan struct{} // closed when all loops have ended
	stopping  bool
}

// New returns a server that serves no socket until Start.
func New(o Options) (*Server, error) {
	if o.Environment == nil || o.Save == nil {
		return nil, errors.New("create SMTP server: Environment or Save is missing")
	}
	s := &Server{
		environment: o.Environment,
		save:        o.Save,
		log:         o.Environment.Log,
		loopCount:   o.Loops,
		done:        make(chan struct{}),
	}
	if s.loopCount <= 0 {
		s.loopCount = DefaultLoops()
	}
	s.limiter.perIP = make(map[netip.Addr]int)
	s.ids.Store(randomStart())
	s.Reload(o.Settings)
	return s, nil
}

// DefaultLoops returns the number of loops if Options.Loops is 0: one loop per two of
// GOMAXPROCS, without the one that is to spare for system calls.
func DefaultLoops() int { return max(1, (runtime.GOMAXPROCS(0)-1)/2) }

// Reload replaces the settings; sessions continue. It must also be called when
// Environment's settings have changed, since the timeout and the maximum size of a
// message are there.
func (s *Server) Reload(settings Settings) {
	if settings.TLS != nil && settings.TLS.MinVersion < tls.VersionTLS12 {
		settings.TLS = settings.TLS.Clone()
		settings.TLS.MinVersion = tls.VersionTLS12
	}
	s.settings.Store(&settings)
	s.budget.configure(settings.Memory, s.environment.Settings().MaxSize)
	s.postAll(func(*loop) {}) // each loop checks its deadlines against the new timeout
}

// A Listener is a listening TCP or unix stream socket, non-blocking and prepared by
// package listen.
type Listener struct {
	FD  int
	TLS bool // a TLS handshake precedes the greeting (RFC 8314 section 3)
}

// Start begins to serve listening sockets and returns. The server never closes them
// or shuts them down, since the service manager may hold the same sockets.
func (s *Server) Start(listeners []Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loops != nil || s.stopping {
		return errors.New("start SMTP server: already started or stopped")
	}
	for range s.loopCount {
		l, err := newLoop(s, listeners)
		if err != nil {
			for _, l := range s.loops {
				l.closeFiles()
			}
			s.loops = nil
			return fmt.Errorf("start event loop: %w", err)
		}
		s.loops = append(s.loops, l)
	}
	for _, l := range s.loops {
		s.running.Go(l.run)
	}
	go func() {
		s.running.Wait()
		close(s.done)
	}()
	return nil
}

// Relisten replaces the listening sockets. When it returns nil, the server no
// longer uses the previous sockets; sessions continue.
func (s *Server) Relisten(listeners []Listener) error {
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
				return fmt.Errorf("replace listening sockets: %w", err)
			}
		case <-s.done:
			return nil
		}
	}
	return nil
}

// Shutdown drains the server: it accepts no connections, closes idle sessions
// with 421 and waits for transactions in flight. It terminates a transaction
// that makes no progress for stallTime, and all transactions when ctx is done; then
// it returns the cause of ctx. The listening sockets stay open.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	started := s.loops != nil
	s.stopping = true
	s.mu.Unlock()
	if !started {
		return nil
	}
	// All loops have stopped listening before the first client receives 421.
	if err := s.Relisten(nil); err != nil {
		return err
	}
	s.postAll((*loop).drain)
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		s.postAll((*loop).terminate)
		<-s.done
		return fmt.Errorf("drain SMTP sessions: %w", context.Cause(ctx))
	}
}

// Ping returns nil when every loop has completed a round since the call. It is
// for a watchdog.
func (s *Server) Ping(ctx context.Context) error {
	s.mu.Lock()
	n := len(s.loops)
	s.mu.Unlock()
	answers := make(chan struct{}, n)
	s.postAll(func(*loop) { answers <- struct{}{} })
	for range n {
		select {
		case <-answers:
		case <-s.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("ping event loops: %w", context.Cause(ctx))
		}
	}
	return nil
}

// postAll makes every loop run f on its own thread.
func (s *Server) postAll(f func(*loop)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		l.post(note{run: f})
	}
}

// timeout returns the current time limit of one command.
func (s *Server) timeout() time.Duration {
	return max(s.environment.Settings().Timeout, time.Millisecond)
}
