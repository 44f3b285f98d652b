// Package daemon runs goguerrillad: it starts the servers, applies each
// configuration, and stops everything in order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"goguerrillad/internal/authhttp"
	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/logging"
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/privdrop"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/service"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
	"goguerrillad/internal/unit"
)

// Options are the parameters of Run, apart from the configuration.
type Options struct {
	Version, Commit string
	Load            func() (*stores.Configuration, error) // reads the configuration again, at a reload
	Signals         chan os.Signal                        // of service.QueueSignals
	Stderr          io.Writer                             // receives the error of closing the log
}

// daemon is the running program.
type daemon struct {
	Options
	log         *logging.Log
	descriptors int           // RLIMIT_NOFILE
	changed     chan struct{} // of capacity 1, for service.Service.Changed
	where       Where

	// Changed by apply.
	cfg      *stores.Configuration
	sockets  []listen.Socket // of SMTP
	settings atomic.Pointer[session.Settings]
	shown    atomic.Pointer[metrics.Config]

	repeats    *session.Repeats
	recipients *recipient.Directory
	committer  *commit.Committer
	server     *smtpd.Server
	authHTTP   *authhttp.Server
	metrics    *metrics.Server

	authServer, statusServer *httpServer // serve authHTTP and metrics
}

// A ConfigError is an error of Run that the configuration must fix.
type ConfigError struct{ err error }

func (e *ConfigError) Error() string { return e.err.Error() }
func (e *ConfigError) Unwrap() error { return e.err }

// Run binds the sockets, drops the privileges, starts the servers, and returns
// when a signal has stopped them. Its errors are those of the start.
func Run(cfg *stores.Configuration, o Options) error {
	drop := os.Geteuid() == 0 && cfg.User.Name != ""
	if err := privdrop.RefuseRoot(); err != nil && !drop {
		return &ConfigError{err}
	}

	d := &daemon{Options: o, descriptors: descriptorLimit(), changed: make(chan struct{}, 1)}
	c := &change{cfg: cfg}
	if err := d.openSockets(c); err != nil {
		return err
	}
	if err := d.needsCertificate(cfg); err != nil {
		return &ConfigError{err}
	}
	log, err := logging.Open(cfg.LogFile, logging.Owner{Change: drop, UID: cfg.User.Num, GID: cfg.Group.Num})
	if err != nil {
		return &ConfigError{fmt.Errorf("%s: GSMTP_LOG_FILE: %w", cfg.File, unit.Explain(cfg.LogFile, err))}
	}
	if drop {
		err = privdrop.Drop(cfg.User.Num, cfg.Group.Num)
	} else {
		err = privdrop.DropCapabilities()
	}
	if err != nil {
		return err
	}

	d.log = log
	spareProcessor()
	service.QueueStopSignals(o.Signals)
	if err := d.start(c); err != nil {
		return err
	}
	s := service.Service{Signals: o.Signals, Reload: d.reload, LogCounters: d.report, Stop: d.stop, Status: d.status, Changed: d.changed, Alive: d.alive, Log: log.Logger}
	s.Run()
	log.Info("stopped")
	if err := log.Close(); err != nil { // loses no message
		fmt.Fprintln(o.Stderr, "goguerrillad: close the log:", err)
	}
	return nil
}

// openSockets opens the sockets of all servers: systemd's, else those of the
// configured addresses.
func (d *daemon) openSockets(c *change) error {
	passed, err := listen.Passed("smtp", "smtps", "auth_http", "metrics")
	if err != nil {
		return err
	}
	for i := range passed["smtps"] {
		passed["smtps"][i].TLS = true
	}
	d.where = Where{Unprivileged: os.Geteuid() != 0, Passed: slices.Collect(maps.Keys(passed))}
	if d.sockets = append(passed["smtp"], passed["smtps"]...); len(d.sockets) == 0 {
		if d.sockets, err = listen.Bind(c.cfg.Listen); err != nil {
			return err
		}
	}
	d.authServer, d.statusServer = newHTTPServers(passed)
	for i, s := range d.httpServers() {
		if c.http[i], err = s.bind(c.cfg); err != nil {
			return err
		}
	}
	return nil
}

// needsCertificate returns an error if systemd has passed a socket for TLS and the
// configuration has no certificate.
func (d *daemon) needsCertificate(cfg *stores.Configuration) error {
	if len(cfg.Certificates) == 0 && slices.ContainsFunc(d.sockets, func(s listen.Socket) bool { return s.Passed && s.TLS }) {
		return fmt.Errorf("%s: GSMTP_PRV_KEY: is missing: systemd passes a socket named smtps, which needs a certificate", cfg.File)
	}
	return nil
}

// start opens the store, applies the configuration and begins to serve.
func (d *daemon) start(c *change) error {
	d.metrics = d.newMetrics()
	d.recipients = recipient.New(d.log.Logger, d.notifyChange)
	d.repeats = session.NewRepeats(d.log.Logger, isOutage)
	d.settings.Store(&session.Settings{}) // smtpd.New reads them before apply
	environment := &session.Environment{
		Settings: d.settings.Load,
		Now:      time.Now,
		NewHash:  new(envelope.HashSource).New,
		Log:      d.log.Logger,
		Repeats:  d.repeats,
		Replied:  d.metrics.Replied,
		Sessions: func() int64 { return d.server.Sessions() },
		Full:     func() bool { return d.committer.Full() },
	}
	var err error
	d.server, err = smtpd.New(smtpd.Options{
		Environment: environment,
		Save:        func(e *envelope.Envelope, done func(error)) { d.committer.Submit(e, d.metrics.Timed(done)) },
	})
	if err != nil {
		return err
	}
	d.authHTTP = d.newAuthHTTP(environment)
	d.authServer.handle("auth_http", d.authHTTP, d.log.Logger)
	d.statusServer.handle("metrics", d.metrics, d.log.Logger)
	if c.store, err = d.openStore(c.cfg); err != nil {
		return err
	}
	if err := d.apply(c); err != nil {
		return err
	}
	d.metrics.Start()
	if err := d.server.Start(listeners(d.sockets)); err != nil {
		return err
	}
	d.awaitCheck()
	d.log.Info("ready", "version", d.Version, "listen", addresses(d.sockets), "auth_http", addresses(d.authServer.sockets), "metrics", addresses(d.statusServer.sockets), "store", c.cfg.SaveMail, "host", c.cfg.HostName)
	return nil
}

// checkTime is how long the start waits for the first check of the store, so that the
// status is known when the daemon is ready.
const checkTime = time.Second

func (d *daemon) awaitCheck() {
	timeout := time.After(checkTime)
	for !d.committer.Health().Checked {
		select {
		case <-d.changed:
		case <-timeout:
			return
		}
	}
}

// isOutage reports whether a store's error concerns every message.
func isOutage(err error) bool {
	return errors.Is(err, savemail.ErrUnavailable) && !errors.Is(err, savemail.ErrUnknown)
}

// openStore opens the store, measures its commits and follows its health.
func (d *daemon) openStore(cfg *stores.Configuration) (stores.Store, error) {
	store, err := cfg.Open(d.Version, d.log.Logger)
	store.Options.Committed, store.Options.Changed = d.metrics.Committed, d.notifyChange
	return store, err
}

// alive returns nil if every loop makes progress and no Save is overdue. An
// unavailable database is not a fault of the daemon.
func (d *daemon) alive(ctx context.Context) error {
	return errors.Join(d.server.Ping(ctx), d.committer.Alive())
}
