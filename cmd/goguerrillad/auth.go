package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"goguerrillad/internal/authhttp"
	"goguerrillad/internal/config"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// authHTTP is the server that nginx asks, and where it listens: nowhere when
// it is not wanted.
type authHTTP struct {
	server  *authhttp.Server
	sockets []listen.Socket
}

// authPatience is how long requests in flight have at a stop. None takes that
// long.
const authPatience = 2 * time.Second

// startAuth begins to answer nginx.
func (d *daemon) startAuth(world *session.World) error {
	d.auth.server = authhttp.New(authhttp.Options{
		World:    world,
		NewID:    d.server.NewID,
		Refuse:   d.refusal,
		Sessions: d.server.Sessions,
	})
	return d.serveAuth()
}

// serveAuth answers on the sockets there are.
func (d *daemon) serveAuth() error {
	d.auth.server.Reload(d.authSettings())
	listeners := make([]net.Listener, len(d.auth.sockets))
	for i, s := range d.auth.sockets {
		l, err := s.Listener()
		if err != nil {
			for _, l := range listeners[:i] {
				l.Close()
			}
			return fmt.Errorf("auth_http: %w", err)
		}
		listeners[i] = l
	}
	d.auth.server.Serve(listeners, d.cfg.MaxClients)
	for _, s := range d.auth.sockets {
		if tcp, ok := s.Addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			d.log.Warn("auth_http is open to the network: whoever reaches it can ask which recipients there are", "listen", s.Addr)
		}
	}
	return nil
}

func (d *daemon) authSettings() authhttp.Settings {
	s := authhttp.Settings{ProxyProtocol: d.cfg.ProxyProtocol}
	for _, socket := range d.sockets {
		s.Own = append(s.Own, socket.Addr)
	}
	if len(d.auth.sockets) > 0 { // nobody asks otherwise
		s.Backends = d.cfg.AuthHTTP.Backends
	}
	return s
}

// rebind returns the sockets that a configuration wants. It changes nothing.
func (a *authHTTP) rebind(next *config.Config) ([]listen.Socket, error) {
	if slices.ContainsFunc(a.sockets, func(s listen.Socket) bool { return s.Passed }) {
		return a.sockets, nil
	}
	if !next.AuthHTTP.Enabled {
		return nil, nil
	}
	return listen.Rebind(a.sockets, []string{next.AuthHTTP.Listen})
}

// forget closes what rebind has opened.
func (a *authHTTP) forget(sockets []listen.Socket) {
	for _, s := range sockets {
		if !slices.Contains(a.sockets, s) {
			s.Close()
		}
	}
}

// moveAuth answers on these sockets from now on, by the current configuration;
// clients is the limit of before.
func (d *daemon) moveAuth(sockets []listen.Socket, clients int) error {
	old := d.auth.sockets
	if slices.Equal(old, sockets) && clients == d.cfg.MaxClients {
		d.auth.server.Reload(d.authSettings())
		return nil
	}
	d.auth.sockets = sockets
	if err := d.serveAuth(); err != nil {
		return err
	}
	d.closeSockets(old, sockets)
	return nil
}

// stopAuth sends nginx nowhere any more.
func (d *daemon) stopAuth(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, authPatience)
	defer cancel()
	if err := d.auth.server.Shutdown(ctx); err != nil {
		d.log.Warn("the stop was cut short", "error", err)
	}
	d.closeSockets(d.auth.sockets, nil)
}

// The refusals of sessions that would come to nothing.
var (
	storeDown  = smtp.Reply{Code: 451, Enhanced: smtp.SystemTrouble, Text: "Mail cannot be stored now, try again later"}
	serverFull = smtp.Reply{Code: 451, Enhanced: smtp.NotAccepting, Text: "Too many connections, try again later"}
)

// refusal says why no session is taken now, nil when it is.
func (d *daemon) refusal() *smtp.Reply {
	if up, _, _ := d.committer.State(); !up {
		return &storeDown
	}
	if d.server.Full() {
		return &serverFull
	}
	return nil
}
