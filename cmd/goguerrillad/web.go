package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/httpd"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/stores"
)

// web is an HTTP server beside SMTP, and where it listens: nowhere when it is
// not wanted.
type web struct {
	key     string // that says where
	address func(*stores.Configuration) string
	sockets []listen.Socket
	clients int // connections at a time
	server  httpd.Server
}

// webPatience is how long requests in flight have at a stop. None takes that
// long.
const webPatience = 2 * time.Second

// webs returns the two that there are, on the sockets that systemd passed.
func webs(passed map[string][]listen.Socket) (auth, status *web) {
	auth = &web{key: "NGINX_AUTH", sockets: passed["auth_http"], address: func(cfg *stores.Configuration) string {
		if !cfg.AuthHTTP.Enabled {
			return ""
		}
		return cfg.AuthHTTP.Listen
	}}
	status = &web{key: "GM_METRICS", sockets: passed["metrics"], address: func(cfg *stores.Configuration) string { return cfg.Metrics }}
	return auth, status
}

// bind returns the sockets that a configuration wants, those that are there
// among them. It closes none.
func (w *web) bind(cfg *stores.Configuration) ([]listen.Socket, error) {
	if slices.ContainsFunc(w.sockets, func(s listen.Socket) bool { return s.Passed }) {
		return w.sockets, nil
	}
	address := w.address(cfg)
	if address == "" {
		return nil, nil
	}
	sockets, err := listen.Rebind(w.sockets, []string{address})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.key, err)
	}
	return sockets, nil
}

// forget closes what bind has opened.
func (w *web) forget(sockets []listen.Socket) { closeSockets(sockets, w.sockets) }

// serve answers on these sockets from now on, so many connections at a time.
func (w *web) serve(sockets []listen.Socket, clients int) error {
	if clients == w.clients && slices.Equal(sockets, w.sockets) {
		return nil
	}
	listeners := make([]net.Listener, len(sockets))
	for i, s := range sockets {
		l, err := s.Listener()
		if err != nil {
			for _, l := range listeners[:i] {
				l.Close()
			}
			return fmt.Errorf("%s: %w", w.key, err)
		}
		listeners[i] = l
	}
	w.server.Serve(listeners, clients)
	old := w.sockets
	w.sockets, w.clients = sockets, clients
	closeSockets(old, sockets)
	return nil
}

// stop ends it.
func (w *web) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, webPatience)
	defer cancel()
	err := w.server.Shutdown(ctx)
	closeSockets(w.sockets, nil)
	return err
}

// handle sets who answers.
func (w *web) handle(d *daemon, name string, h http.Handler) {
	w.server.Name, w.server.Log, w.server.Handler = name, d.log.Logger, h
}

// rebindWebs returns the sockets of both servers for a configuration, and the
// keys that only a restart can obey: a privileged port is not to be had.
func (d *daemon) rebindWebs(cfg *stores.Configuration) (sockets [2][]listen.Socket, kept []string, err error) {
	for i, w := range d.webs() {
		sockets[i], err = w.bind(cfg)
		if errors.Is(err, unix.EACCES) {
			sockets[i], err = w.sockets, nil
			kept = append(kept, w.key)
		}
		if err != nil {
			d.forgetWebs(sockets)
			return sockets, nil, fmt.Errorf("%s: %w", cfg.File, err)
		}
	}
	return sockets, kept, nil
}

func (d *daemon) forgetWebs(sockets [2][]listen.Socket) {
	for i, w := range d.webs() {
		w.forget(sockets[i])
	}
}

// moveWebs has both servers obey the current configuration, on these sockets.
func (d *daemon) moveWebs(sockets [2][]listen.Socket) error {
	d.authHTTP.Reload(d.authSettings(sockets[0])) // before the first question
	var errs []error
	for i, w := range d.webs() {
		if err := w.serve(sockets[i], d.limits.http); err != nil {
			w.forget(sockets[i]) // so that the next reload can bind them
			errs = append(errs, err)
		}
	}
	for _, s := range d.authWeb.sockets {
		if tcp, ok := s.Addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			d.log.Warn("auth_http is open to the network: whoever reaches it can ask which recipients there are", "listen", s.Addr)
		}
	}
	return errors.Join(errs...)
}

func (d *daemon) webs() [2]*web { return [2]*web{d.authWeb, d.statusWeb} }

// closeSockets closes those that are not among kept. The close of a listening
// socket fails only if it is closed already.
func closeSockets(sockets, kept []listen.Socket) {
	for _, s := range sockets {
		if !slices.Contains(kept, s) {
			_ = s.Close()
		}
	}
}
