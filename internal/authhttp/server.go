// Package authhttp is the HTTP server for nginx's mail proxy, which sends it one
// request for each SMTP session. It refuses senders and recipients that the SMTP
// server would refuse, before nginx opens a session there, and balances the
// sessions over several backends.
//
// The protocol is that of ngx_mail_auth_http_module. nginx reads only the header
// of a response, at most 1 KiB, and accepts only IP addresses as servers.
package authhttp

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"goguerrillad/internal/httpd"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// Options configures a new server.
type Options struct {
	Environment *session.Environment // decides about senders and recipients
	NewID       func() string        // returns the session id for log messages
	// Refuse returns the refusal if this daemon accepts no sessions now, else nil.
	Refuse func() *smtp.Reply
	// Sessions returns the number of this daemon's sessions.
	Sessions func() int64
}

// Settings is the configuration that a reload may change.
type Settings struct {
	Own           []net.Addr       // addresses on which this daemon listens for SMTP
	Backends      []netip.AddrPort // SMTP servers to balance over; if empty, only this daemon
	ProxyProtocol bool             // the backends require a PROXY header, also in checks
}

// A Server is the http.Handler for nginx's requests. Its methods may be called
// from any goroutine.
type Server struct {
	Options
	log  *slog.Logger
	pool pool

	mu     sync.Mutex
	own    []net.Addr
	local  map[netip.AddrPort]bool // whether a backend is this daemon
	warned bool                    // the log has the warning of warn; false again after a reload
}

// New returns a server without settings; call Reload before it serves.
func New(o Options) *Server {
	s := &Server{Options: o, log: o.Environment.Log}
	s.pool.log = s.log
	return s
}

// Reload replaces the settings.
func (s *Server) Reload(settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own, s.local, s.warned = settings.Own, map[netip.AddrPort]bool{}, false
	for _, b := range settings.Backends {
		s.local[b] = isOwn(b, settings.Own)
	}
	s.pool.reload(settings.Backends, settings.ProxyProtocol, s.Environment.Settings().HostName)
}

// Close ends the checks of the backends.
func (s *Server) Close() { s.pool.reload(nil, false, "") }

// browserText is the response to a request that does not come from nginx.
const browserText = "This port is for nginx's mail proxy, which uses the auth_http protocol.\n" +
	"See NGINX_AUTH in the manual page goguerrilla.conf(5).\n"

// ServeHTTP handles one request, with any path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		httpd.Protect(h)
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case r.Header.Get("Auth-Method") == "":
		httpd.Protect(h)
		h.Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, browserText) // an error means that the client disconnected
		return
	}
	// nginx does not need these fields, and reads at most 1 KiB.
	h["Date"], h["Content-Type"] = nil, nil
	server, refusal := s.answer(r)
	if refusal != nil {
		h.Set("Auth-Status", refusal.Text)
		code := strconv.Itoa(refusal.Code)
		if refusal.Enhanced != "" {
			code += " " + refusal.Enhanced
		}
		h.Set("Auth-Error-Code", code)
		h.Set("Auth-Wait", "1") // seconds; without it nginx closes the client's session
		return
	}
	h.Set("Auth-Status", "OK")
	h.Set("Auth-Server", server.Addr().String())
	h.Set("Auth-Port", strconv.Itoa(int(server.Port())))
}

// answer returns the address to which nginx must connect for a session, or the
// refusal.
func (s *Server) answer(r *http.Request) (netip.AddrPort, *smtp.Reply) {
	if refusal := s.trySession(r.Header); refusal != nil {
		return netip.AddrPort{}, refusal
	}
	s.mu.Lock()
	own, local := s.own, s.local
	s.mu.Unlock()
	server, chosen := s.pool.choose(r.Context(), func(b *backend) (sessions int64, exclude bool) {
		if !local[b.addr] {
			return 0, false
		}
		return s.Sessions(), s.Refuse() != nil
	})
	if chosen {
		if !server.IsValid() {
			return server, &smtp.ReplyNoServer
		}
		return server, nil
	}
	if refusal := s.Refuse(); refusal != nil {
		return netip.AddrPort{}, refusal
	}
	s.warn(r.RemoteAddr)
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	server = reachable(own, at)
	if !server.IsValid() {
		s.log.Error("nginx cannot reach any SMTP listen address")
		return server, &smtp.ReplyNoServer
	}
	return server, nil
}

// warn logs once after a reload that nginx is not a trusted proxy, so that the
// SMTP server will refuse its XCLIENT.
func (s *Server) warn(peer string) {
	addr, err := netip.ParseAddrPort(peer)
	trusted := s.Environment.Settings().Trusted
	if err == nil && trusted != nil && trusted.Match(addr.Addr().Unmap()) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && !s.warned {
		s.warned = true
		s.log.Warn("nginx is not a trusted proxy", "nginx", peer)
	}
}
