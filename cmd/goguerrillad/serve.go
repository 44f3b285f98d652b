package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
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
func serve(f flags, cfg *config.Config, stderr io.Writer) int {
	root := os.Geteuid() == 0
	become := root && cfg.User.Name != ""
	if root && !become {
		return refuse(stderr, privdrop.RefuseRoot())
	}

	sockets, authSockets, err := openSockets(cfg)
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

	d := &daemon{flags: f, cfg: cfg, log: log, sockets: sockets, auth: authHTTP{sockets: authSockets}}
	if err := d.start(); err != nil {
		return fail(stderr, err)
	}
	s := service.Service{Reload: d.reload, Report: d.report, Stop: d.stop, Status: d.status, Alive: d.alive, Log: log.Logger}
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

// openSockets returns the sockets to serve, of SMTP and of auth_http: systemd's,
// else those of the addresses.
func openSockets(cfg *config.Config) (smtp, auth []listen.Socket, err error) {
	passed, err := listen.Passed("smtp", "auth_http")
	if err != nil {
		return nil, nil, err
	}
	if smtp = passed["smtp"]; len(smtp) == 0 {
		if smtp, err = listen.Bind(cfg.Listen); err != nil {
			return nil, nil, err
		}
	}
	if auth = passed["auth_http"]; len(auth) == 0 && cfg.AuthHTTP.Enabled {
		auth, err = listen.Bind([]string{cfg.AuthHTTP.Listen})
	}
	return smtp, auth, err
}

// limitMemory has the garbage collector heed the cgroup's limit, as far as
// message buffers, of which it knows nothing, leave room; half of it at least,
// since it would only spend its time in vain otherwise.
func limitMemory(cfg *config.Config) {
	limit, ok := config.CgroupMemoryMax()
	if os.Getenv("GOMEMLIMIT") != "" || !ok {
		return
	}
	debug.SetMemoryLimit(max(limit-cfg.Memory, limit/2) / 10 * 9)
}

// start opens the store and begins to accept.
func (d *daemon) start() error {
	d.log.SetVerbose(d.cfg.Verbose)
	limitMemory(d.cfg)
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
		Sessions: func() int64 { return d.server.Sessions() },
	}
	d.server, err = smtpd.New(smtpd.Options{World: world, Save: d.committer.Submit, Settings: serverSettings(d.cfg)})
	if err != nil {
		return err
	}
	if err := d.server.Start(descriptors(d.sockets)); err != nil {
		return err
	}
	if err := d.startAuth(world); err != nil {
		return err
	}
	d.warn()
	d.log.Info("ready", "version", version, "listen", addresses(d.sockets), "auth_http", addresses(d.auth.sockets), "store", d.cfg.SaveMail, "host", d.cfg.HostName)
	return nil
}
