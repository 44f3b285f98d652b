package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/logging"
	"goguerrillad/internal/privdrop"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/service"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtpd"
)

// refuse reports a configuration that cannot be used.
func refuse(stderr io.Writer, reason error) int {
	fmt.Fprintln(stderr, "goguerrillad:", reason)
	service.Refused(reason)
	return exitConfig
}

// serve runs the daemon until it is told to stop.
func serve(f flags, cfg *config.Config, stderr io.Writer) int {
	root := os.Geteuid() == 0
	become := root && cfg.User.Name != ""
	if root && !become {
		return refuse(stderr, privdrop.RefuseRoot())
	}
	fail := func(err error) int {
		fmt.Fprintln(stderr, "goguerrillad:", err)
		return exitFailed
	}

	sockets, err := listen.Open("smtp", cfg.Listen)
	if err != nil {
		return fail(err)
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
		return fail(err)
	}

	d := &daemon{flags: f, cfg: cfg, log: log, sockets: sockets}
	if err := d.start(); err != nil {
		return fail(err)
	}
	s := service.Service{Reload: d.reload, Report: d.report, Stop: d.stop, Log: log.Logger}
	status := exitOK
	if err := s.Run(); err != nil {
		log.Error("failed", "error", err)
		status = exitFailed
	} else {
		log.Info("stopped")
	}
	if err := log.Close(); err != nil { // no mail is lost by that
		fmt.Fprintln(stderr, "goguerrillad: close the log:", err)
	}
	return status
}

// start opens the store and begins to accept.
func (d *daemon) start() error {
	d.log.SetVerbose(d.cfg.Verbose)
	store, err := openStore(d.cfg, d.log.Logger)
	if err != nil {
		return err
	}
	d.settings.Store(sessionSettings(d.cfg, store))
	d.committer = savemail.New(store.Store, store.options)
	world := &session.World{
		Settings: d.settings.Load,
		Now:      time.Now,
		NewHash:  new(smtpd.Hashes).New,
		Log:      d.log.Logger,
	}
	d.server, err = smtpd.New(smtpd.Options{World: world, Save: d.committer.Submit, Settings: serverSettings(d.cfg)})
	if err != nil {
		return err
	}
	if err := d.server.Start(descriptors(d.sockets)); err != nil {
		return err
	}
	d.warn()
	d.log.Info("ready", "version", version, "listen", addresses(d.sockets), "store", d.cfg.SaveMail, "host", d.cfg.HostName)
	return nil
}
