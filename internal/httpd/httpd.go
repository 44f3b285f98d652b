// Package httpd runs the small HTTP servers beside SMTP: what they have in
// common is the bounds of a connection, and that a reload can move them.
package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of one connection.
const (
	requestTime = 5 * time.Second // for one request, and for taking the answer
	idleTime    = time.Minute     // between two requests
	maxHeader   = 32 << 10        // bytes: nginx may send a client's certificate
)

// A Server answers requests by its Handler. Its methods may be called from any
// goroutine.
type Server struct {
	Name    string // in the log
	Handler http.Handler
	Log     *slog.Logger

	mu      sync.Mutex
	serving *generation // nil before Serve and after Shutdown
}

// A generation is the server of one call of Serve.
type generation struct {
	http.Server
	listeners []net.Listener
}

// Serve accepts on these listeners, which become its own, in place of those of
// before; requests in flight go on. Each takes so many connections at a time,
// and lets others wait.
func (s *Server) Serve(listeners []net.Listener, maxClients int) {
	next := &generation{listeners: listeners, Server: http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}}
	last := s.swap(next)
	for _, l := range listeners {
		go func() {
			if err := next.Serve(netutil.LimitListener(l, maxClients)); s.serves(next) {
				s.Log.Error(s.Name+" has stopped", "listen", l.Addr(), "error", err)
			}
		}()
	}
	if last != nil {
		last.retire()
	}
}

// retire stops accepting and closes idle connections. A connection whose first
// request has not been read yet gets its response, which Shutdown would not wait for.
func (g *generation) retire() {
	for _, l := range g.listeners {
		l.Close()
	}
	g.SetKeepAlivesEnabled(false)
}

// Shutdown stops accepting, and lets requests in flight finish until ctx is
// done.
func (s *Server) Shutdown(ctx context.Context) error {
	last := s.swap(nil)
	if last == nil {
		return nil
	}
	if err := last.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("stop %s: %w", s.Name, err), last.Close())
	}
	return nil
}

// serves reports whether no other call of Serve or Shutdown has followed that of g.
func (s *Server) serves(g *generation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving == g
}

func (s *Server) swap(next *generation) (last *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, s.serving = s.serving, next
	return last
}

// Protect sets the headers that have a browser take a response for what its
// Content-Type says, run no script of it, show it in no frame, and send its
// address to no other server.
func Protect(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
