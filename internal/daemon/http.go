package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/authhttp"
	"goguerrillad/internal/config"
	"goguerrillad/internal/httpd"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
)

// An httpServer is auth_http or the metrics with its sockets, none while it is
// disabled.
type httpServer struct {
	key     string                             // the configuration key of the address
	address func(*stores.Configuration) string // "" = disabled
	sockets []listen.Socket
	clients int // maximum number of connections
	server  httpd.Server
}

// httpStopTimeout is the time for requests in flight at a stop. It is longer than
// any request takes.
const httpStopTimeout = 2 * time.Second

// newHTTPServers returns both servers with the sockets that systemd has passed.
func newHTTPServers(passed map[string][]listen.Socket) (auth, status *httpServer) {
	auth = &httpServer{key: "NGINX_AUTH", sockets: passed["auth_http"], address: func(cfg *stores.Configuration) string {
		if !cfg.AuthHTTP.Enabled {
			return ""
		}
		return cfg.AuthHTTP.Listen
	}}
	status = &httpServer{key: "GM_METRICS", sockets: passed["metrics"], address: func(cfg *stores.Configuration) string { return cfg.Metrics }}
	return auth, status
}

func (d *daemon) httpServers() [2]*httpServer { return [2]*httpServer{d.authServer, d.statusServer} }

// bind returns the sockets for a configuration, including open ones that do not
// change. It closes no socket.
func (s *httpServer) bind(cfg *stores.Configuration) ([]listen.Socket, error) {
	if slices.ContainsFunc(s.sockets, func(s listen.Socket) bool { return s.Passed }) {
		return s.sockets, nil
	}
	address := s.address(cfg)
	if address == "" {
		return nil, nil
	}
	sockets, err := listen.Rebind(s.sockets, []string{address})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.key, err)
	}
	return sockets, nil
}

// serve replaces the sockets and the limit of connections.
func (s *httpServer) serve(sockets []listen.Socket, clients int) error {
	if clients == s.clients && slices.Equal(sockets, s.sockets) {
		return nil
	}
	listeners := make([]net.Listener, len(sockets))
	for i, socket := range sockets {
		l, err := socket.Listener()
		if err != nil {
			for _, l := range listeners[:i] {
				l.Close()
			}
			return fmt.Errorf("%s: %w", s.key, err)
		}
		listeners[i] = l
	}
	s.server.Serve(listeners, clients)
	old := s.sockets
	s.sockets, s.clients = sockets, clients
	closeExcept(old, sockets)
	return nil
}

// stop ends the requests in flight and closes the sockets.
func (s *httpServer) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, httpStopTimeout)
	defer cancel()
	err := s.server.Shutdown(ctx)
	closeExcept(s.sockets, nil)
	return err
}

func (s *httpServer) handle(name string, h http.Handler, log *slog.Logger) {
	s.server.Name, s.server.Log, s.server.Handler = name, log, h
}

// bindHTTP opens the sockets of both servers for a change. It returns the keys of
// privileged ports, which need a restart.
func (d *daemon) bindHTTP(c *change) (needRestart []string, err error) {
	for i, s := range d.httpServers() {
		c.http[i], err = s.bind(c.cfg)
		if errors.Is(err, unix.EACCES) {
			c.http[i], err = s.sockets, nil
			needRestart = append(needRestart, s.key)
		}
		if err != nil {
			d.closeHTTP(c)
			return nil, fmt.Errorf("%s: %w", c.cfg.File, err)
		}
	}
	return needRestart, nil
}

// closeHTTP closes the sockets that bindHTTP has opened.
func (d *daemon) closeHTTP(c *change) {
	for i, s := range d.httpServers() {
		closeExcept(c.http[i], s.sockets)
	}
}

// serveHTTP applies a change to both servers, with at most the given number of
// connections to each.
func (d *daemon) serveHTTP(c *change, clients int) error {
	d.authHTTP.Reload(d.authSettings(c.http[0])) // before the first request
	var errs []error
	for i, s := range d.httpServers() {
		if err := s.serve(c.http[i], clients); err != nil {
			closeExcept(c.http[i], s.sockets) // so that the next reload can bind them
			errs = append(errs, err)
		}
	}
	for _, s := range d.authServer.sockets {
		if tcp, ok := s.Addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			d.log.Warn("auth_http is open to the network, any client can test which recipients exist", "listen", s.Addr)
		}
	}
	return errors.Join(errs...)
}

func (d *daemon) newAuthHTTP(environment *session.Environment) *authhttp.Server {
	return authhttp.New(authhttp.Options{
		Environment: environment,
		NewID:       d.server.NewID,
		Refuse:      d.refusal,
		Sessions:    d.server.Sessions,
	})
}

// authSettings returns the settings of auth_http on these sockets.
func (d *daemon) authSettings(sockets []listen.Socket) authhttp.Settings {
	s := authhttp.Settings{ProxyProtocol: d.cfg.ProxyProtocol}
	for _, socket := range d.sockets {
		if !socket.TLS { // nginx connects in clear
			s.Own = append(s.Own, socket.Addr)
		}
	}
	if len(sockets) > 0 { // no request arrives otherwise
		s.Backends = d.cfg.AuthHTTP.Backends
	}
	return s
}

// refusal returns the reply for a new client, nil if the daemon accepts it.
func (d *daemon) refusal() *smtp.Reply {
	if d.committer.Full() {
		return &smtp.ReplyNoSpace
	}
	if d.committer.Health().Refusing { // messages wait in a shorter outage
		return &smtp.ReplyStoreUnavailable
	}
	if d.server.Full() {
		return &smtp.ReplyServerFull
	}
	return nil
}

// closeExcept closes the sockets that are not in keep. Closing a listening socket
// fails only if it is closed already.
func closeExcept(sockets, keep []listen.Socket) {
	for _, s := range sockets {
		if !slices.Contains(keep, s) {
			_ = s.Close()
		}
	}
}

func listeners(sockets []listen.Socket) []smtpd.Listener {
	all := make([]smtpd.Listener, len(sockets))
	for i, s := range sockets {
		all[i] = smtpd.Listener{FD: s.FD, TLS: s.TLS}
	}
	return all
}

func addresses(sockets []listen.Socket) string {
	names := make([]string, len(sockets))
	for i, s := range sockets {
		names[i] = s.Addr.String()
		if s.TLS {
			names[i] = config.ImplicitTLS + names[i]
		}
	}
	return strings.Join(names, ",")
}
