package main

import (
	"time"

	"goguerrillad/internal/authhttp"
	"goguerrillad/internal/commit"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
)

// newAuthHTTP is what nginx asks.
func (d *daemon) newAuthHTTP(world *session.World) *authhttp.Server {
	return authhttp.New(authhttp.Options{
		World:    world,
		NewID:    d.server.NewID,
		Refuse:   d.refusal,
		Sessions: d.server.Sessions,
	})
}

// authSettings are those of auth_http on these sockets.
func (d *daemon) authSettings(sockets []listen.Socket) authhttp.Settings {
	s := authhttp.Settings{ProxyProtocol: d.cfg.ProxyProtocol}
	for _, socket := range d.sockets {
		s.Own = append(s.Own, socket.Addr)
	}
	if len(sockets) > 0 { // nobody asks otherwise
		s.Backends = d.cfg.AuthHTTP.Backends
	}
	return s
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

// newMetrics is what operators look at. What it calls is there when it is
// served.
func (d *daemon) newMetrics() *metrics.Server {
	return metrics.New(metrics.Sources{
		Version:    version,
		Commit:     revision,
		Server:     func() smtpd.Stats { return d.server.Stats() },
		Saver:      func() commit.Counters { return d.committer.Counters() },
		Recipients: func() recipient.Stats { return d.recipients.Stats() },
		State:      func() (bool, time.Time, error) { return d.committer.State() },
		Full:       func() bool { return d.server.Full() },
		Config:     func() metrics.Config { return *d.shown.Load() },
	})
}

// openStore is openStore with metrics.
func (d *daemon) openStore(cfg *stores.Configuration) (stores.Store, error) {
	store, err := cfg.Open(version, d.log.Logger)
	store.Options.Committed = d.metrics.Committed
	return store, err
}

// show has the page and the metrics tell of a configuration and its store.
func (d *daemon) show(cfg *stores.Configuration, store stores.Store) {
	c := &metrics.Config{MaxClients: d.limits.smtp, Memory: cfg.Memory, Store: cfg.SaveMail}
	if cfg.Certificate != nil && cfg.Certificate.Leaf != nil {
		c.CertificateEnds = cfg.Certificate.Leaf.NotAfter
	}
	c.RedisUp = store.RedisUp()
	d.shown.Store(c)
}
