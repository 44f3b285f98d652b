// Package authhttp is the server that nginx asks, by its auth_http protocol,
// what to do with a mail session: it refuses what the SMTP server would
// refuse, before a session with that is opened, and chooses among servers.
//
// The protocol is ngx_mail_auth_http_module's. nginx reads of an answer only
// the header, at most 1 KiB of it, and takes no server but an IP address.
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

// Options is what a server is made of.
type Options struct {
	World *session.World // decides about senders and recipients
	NewID func() string  // of what is logged
	// Refuse says why this daemon takes no session now, nil when it does.
	Refuse func() *smtp.Reply
	// Sessions is the number of this daemon's.
	Sessions func() int64
}

// Settings is what a reload may change.
type Settings struct {
	Own           []net.Addr       // where this daemon takes SMTP
	Backends      []netip.AddrPort // servers to choose from; none stands for this daemon
	ProxyProtocol bool             // they want a PROXY header, from those who look whether they are well too
}

// A Server answers nginx; it is a handler of requests. Its methods may be
// called from any goroutine.
type Server struct {
	Options
	log  *slog.Logger
	pool pool

	mu     sync.Mutex
	own    []net.Addr
	ours   map[netip.AddrPort]bool // backends that are this daemon
	warned bool                    // of an nginx that is not trusted, since the last reload
}

// New returns a server that has no settings yet.
func New(o Options) *Server {
	s := &Server{Options: o, log: o.World.Log}
	s.pool.log = s.log
	return s
}

// Reload replaces the settings.
func (s *Server) Reload(settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own, s.ours, s.warned = settings.Own, map[netip.AddrPort]bool{}, false
	for _, b := range settings.Backends {
		s.ours[b] = isOwn(b, settings.Own)
	}
	s.pool.reload(settings.Backends, settings.ProxyProtocol, s.World.Settings().HostName)
}

// Close ends the checks.
func (s *Server) Close() { s.pool.reload(nil, false, "") }

// forPeople is what somebody reads who comes by with a browser.
const forPeople = "This port is for nginx: goguerrillad tells it by auth_http where to send a mail session.\n" +
	"The manual page goguerrilla.conf(5) has more under NGINX_AUTH.\n"

// ServeHTTP answers one request. The path does not matter.
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
		_, _ = io.WriteString(w, forPeople) // who has gone does not read it
		return
	}
	// Nobody reads them, and nginx has room for little.
	h["Date"], h["Content-Type"] = nil, nil
	server, refusal := s.answer(r)
	if refusal != nil {
		h.Set("Auth-Status", refusal.Text)
		code := strconv.Itoa(refusal.Code)
		if refusal.Enhanced != "" {
			code += " " + refusal.Enhanced
		}
		h.Set("Auth-Error-Code", code)
		h.Set("Auth-Wait", "1") // seconds; without it nginx ends the client's session
		return
	}
	h.Set("Auth-Status", "OK")
	h.Set("Auth-Server", server.Addr().String())
	h.Set("Auth-Port", strconv.Itoa(int(server.Port())))
}

// answer returns the server for a session, or the refusal that its client
// gets.
func (s *Server) answer(r *http.Request) (netip.AddrPort, *smtp.Reply) {
	if refusal := s.judge(r.Header); refusal != nil {
		return netip.AddrPort{}, refusal
	}
	s.mu.Lock()
	own, ours := s.own, s.ours
	s.mu.Unlock()
	server, chosen := s.pool.choose(r.Context(), func(b *backend) (sessions int64, out bool) {
		if !ours[b.addr] {
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
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	server = reachable(own, local)
	if !server.IsValid() {
		s.log.Error("auth_http: SMTP listens on no address that nginx can reach from where it asked")
		return server, &smtp.ReplyNoServer
	}
	return server, nil
}

// warn tells of an nginx whose XCLIENT will be refused, once.
func (s *Server) warn(peer string) {
	addr, err := netip.ParseAddrPort(peer)
	trusted := s.World.Settings().Trusted
	if err == nil && trusted != nil && trusted.Match(addr.Addr().Unmap()) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && !s.warned {
		s.warned = true
		s.log.Warn("nginx is not among the trusted proxies: its clients are refused unless it has xclient off", "nginx", peer)
	}
}
