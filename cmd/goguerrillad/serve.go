package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/config"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/logging"
	"goguerrillad/internal/privdrop"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/service"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
)

// refuse reports a configuration that cannot be used.
func refuse(stderr io.Writer, reason error) int {
	complain(stderr, reason)
	service.Refused("configuration refused", reason)
	return exitConfig
}

// fail reports what keeps the daemon from starting.
func fail(stderr io.Writer, reason error) int {
	complain(stderr, reason)
	service.Refused("cannot start", reason)
	return exitFailed
}

// complain writes an error where no log is open. The journal reads its
// priority off the beginning of the line (sd-daemon(3)).
func complain(stderr io.Writer, err error) {
	mark := ""
	if logging.UnderJournal() {
		mark = "<3>"
	}
	fmt.Fprintf(stderr, "%sgoguerrillad: %v\n", mark, err)
}

// serve runs the daemon until it is told to stop.
func serve(f flags, cfg *stores.Configuration, signals chan os.Signal, stderr io.Writer) int {
	root := os.Geteuid() == 0
	become := root && cfg.User.Name != ""
	if root && !become {
		return refuse(stderr, privdrop.RefuseRoot())
	}

	d := &daemon{flags: f, cfg: cfg, files: descriptorLimit()}
	d.limits = limitClients(cfg, d.files)
	web, err := d.openSockets()
	if err != nil {
		return fail(stderr, err)
	}
	log, err := logging.Open(cfg.LogFile, logging.Owner{Change: become, UID: cfg.User.Num, GID: cfg.Group.Num})
	if err != nil {
		return refuse(stderr, fmt.Errorf("%s: GSMTP_LOG_FILE: %w", cfg.File, err))
	}
	if become {
		err = privdrop.Drop(cfg.User.Num, cfg.Group.Num)
	} else {
		err = privdrop.Forfeit()
	}
	if err != nil {
		return fail(stderr, err)
	}

	d.log = log
	service.Catch(signals)
	if err := d.start(web); err != nil {
		return fail(stderr, err)
	}
	s := service.Service{Signals: signals, Reload: d.reload, Report: d.report, Stop: d.stop, Status: d.status, Alive: d.alive, Log: log.Logger}
	s.Run()
	log.Info("stopped")
	if err := log.Close(); err != nil { // no mail is lost by that
		fmt.Fprintln(stderr, "goguerrillad: close the log:", err)
	}
	return exitOK
}

// openSockets gets the sockets of SMTP and returns those of the servers beside
// it: systemd's, else those of the addresses.
func (d *daemon) openSockets() (web [2][]listen.Socket, err error) {
	passed, err := listen.Passed("smtp", "auth_http", "metrics")
	if err != nil {
		return web, err
	}
	if d.sockets = passed["smtp"]; len(d.sockets) == 0 {
		if d.sockets, err = listen.Bind(d.cfg.Listen); err != nil {
			return web, err
		}
	}
	d.authWeb, d.statusWeb = webs(passed)
	for i, w := range d.webs() {
		if web[i], err = w.bind(d.cfg); err != nil {
			return web, err
		}
	}
	return web, nil
}

// limitMemory has the garbage collector heed the cgroup's limit, as far as
// message buffers, of which it knows nothing, leave room; half of it at least,
// since it would only spend its time in vain otherwise.
func limitMemory(cfg *stores.Configuration) {
	limit, ok := config.CgroupMemoryMax()
	if os.Getenv("GOMEMLIMIT") != "" || !ok {
		return
	}
	debug.SetMemoryLimit(max(limit-cfg.Memory, limit/2) / 10 * 9)
}

// start opens the store and begins to accept.
func (d *daemon) start(web [2][]listen.Socket) error {
	d.log.SetVerbose(d.cfg.Verbose)
	limitMemory(d.cfg)
	d.metrics = d.newMetrics()
	store, err := d.openStore(d.cfg)
	if err != nil {
		return err
	}
	d.show(d.cfg, store)
	d.recipients = recipient.New(d.log.Logger)
	d.recipients.Use(store.Recipients, d.cfg.Recipients.Cache)
	d.settings.Store(d.sessionSettings(store))
	d.committer = commit.New(store.Store, store.Options)
	d.repeats = session.NewRepeats(d.log.Logger, isOutage)
	world := &session.World{
		Settings: d.settings.Load,
		Now:      time.Now,
		NewHash:  new(smtpd.Hashes).New,
		Log:      d.log.Logger,
		Repeats:  d.repeats,
		Replied:  d.metrics.Replied,
		Sessions: func() int64 { return d.server.Sessions() },
	}
	d.server, err = smtpd.New(smtpd.Options{World: world, Save: d.committer.Submit, Settings: serverSettings(d.cfg, d.limits)})
	if err != nil {
		return err
	}
	if err := d.server.Start(descriptors(d.sockets)); err != nil {
		return err
	}
	d.authHTTP = d.newAuthHTTP(world)
	d.authWeb.handle(d, "auth_http", d.authHTTP)
	d.metrics.Start()
	d.statusWeb.handle(d, "metrics", d.metrics)
	if err := d.moveWebs(web); err != nil {
		return err
	}
	d.warn()
	d.log.Info("ready", "version", version, "listen", addresses(d.sockets), "auth_http", addresses(d.authWeb.sockets), "metrics", addresses(d.statusWeb.sockets), "store", d.cfg.SaveMail, "host", d.cfg.HostName)
	return nil
}

// isOutage reports whether a store's error concerns every message.
func isOutage(err error) bool {
	return errors.Is(err, savemail.ErrUnavailable) && !errors.Is(err, savemail.ErrUnknown)
}
