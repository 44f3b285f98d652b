// Package httpd runs the daemon's HTTP servers, auth_http and metrics. It bounds
// their connections, and a reload can replace their listeners.
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

// Limits of one connection.
const (
	requestTime = 5 * time.Second // to read a request, and to write its response
	idleTime    = time.Minute     // between two requests
	maxHeader   = 32 << 10        // bytes; nginx can send a client certificate
)

// A Server is an HTTP server whose listeners can be replaced. Its methods may be
// called from any goroutine.
type Server struct {
	Name    string // for the log and for errors
	Handler http.Handler
	Log     *slog.Logger

	mu      sync.Mutex
	serving *generation // nil before Serve and after Shutdown
}

// A generation is the server of one call to Serve.
type generation struct {
	http.Server
	listeners []net.Listener
}

// Serve accepts connections on the listeners and closes those of the previous
// call, without ending requests in flight. The server closes the listeners later.
// Each listener has at most maxClients connections at once; further clients wait.
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
				s.Log.Error("HTTP listener failed", "server", s.Name, "listen", l.Addr(), "error", err)
			}
		}()
	}
	if last != nil {
		last.retire()
	}
}

// retire stops accepting and closes idle connections. A connection whose first
// request has not been read yet still gets its response: Shutdown would not wait
// for it.
func (g *generation) retire() {
	for _, l := range g.listeners {
		l.Close()
	}
	g.SetKeepAlivesEnabled(false)
}

// Shutdown stops accepting and waits for the requests in flight. When ctx is done,
// it closes their connections and returns an error.
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

// serves reports whether g is the current generation.
func (s *Server) serves(g *generation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving == g
}

// swap sets the current generation and returns the previous one, or nil.
func (s *Server) swap(next *generation) (last *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, s.serving = s.serving, next
	return last
}

// Protect sets headers for browsers: a response is interpreted only as its
// Content-Type, runs no scripts, is not displayed in a frame, is not cached, and
// its URL is not sent to other servers.
func Protect(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
