package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/config"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/logging"
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
	"goguerrillad/internal/unit"
)

// A change is a configuration with everything that had to be opened for it.
type change struct {
	cfg   *stores.Configuration
	store stores.Store
	http  [2][]listen.Socket // in the order of daemon.httpServers
}

// apply makes a configuration the current one, at the start and at a reload. After
// an error an HTTP server keeps its old sockets; the rest of the configuration is
// current.
func (d *daemon) apply(c *change) error {
	cfg, limits := c.cfg, limitClients(c.cfg, d.descriptors)
	d.cfg = cfg
	d.log.SetVerbose(cfg.Verbose)
	limitMemory(cfg.Config)
	d.shown.Store(metricsConfig(c, limits))
	d.recipients.Use(c.store.Recipients, cfg.Recipients.Cache)
	d.settings.Store(d.sessionSettings(c))
	d.server.Reload(serverSettings(cfg, limits))
	if d.committer == nil {
		d.committer = commit.New(c.store.Store, c.store.Options)
	} else {
		d.committer.Swap(c.store.Store, c.store.Options)
	}
	err := d.serveHTTP(c, limits.http)
	for _, w := range warnings(cfg, limits, d.where) {
		d.log.Warn(w)
	}
	return err
}

// reload reads the configuration, opens and checks everything that can fail, and
// applies it. After an error the old configuration is still current.
func (d *daemon) reload() error {
	err := d.tryReload()
	d.metrics.Reloaded(err)
	return err
}

func (d *daemon) tryReload() error {
	cfg, err := d.Load()
	if err != nil {
		return err
	}
	if err := logging.Check(cfg.LogFile); err != nil {
		return fmt.Errorf("%s: GSMTP_LOG_FILE: %w", cfg.File, unit.Explain(cfg.LogFile, err))
	}
	if err := d.needsCertificate(cfg); err != nil {
		return err
	}
	c := &change{cfg: cfg}
	if c.store, err = d.openStore(cfg); err != nil {
		return fmt.Errorf("%s: %w", cfg.File, err)
	}
	needRestart := cfg.NeedsRestart(d.cfg.Config)
	privileged, err := d.bindHTTP(c)
	if err != nil {
		return errors.Join(err, c.store.Close())
	}
	needRestart = append(needRestart, privileged...)
	switch err := d.rebindSMTP(cfg); {
	case errors.Is(err, unix.EACCES):
		needRestart = append(needRestart, "GSTMP_LISTEN_INTERFACE") // a privileged port
		cfg.Listen = d.cfg.Listen
	case err != nil:
		d.closeHTTP(c)
		return errors.Join(fmt.Errorf("%s: GSTMP_LISTEN_INTERFACE: %w", cfg.File, err), c.store.Close())
	}

	if err := d.log.Reopen(cfg.LogFile); err != nil {
		d.log.Error("cannot reopen the log, keeping the old file", "error", err)
	}
	if err := d.apply(c); err != nil {
		d.log.Error("cannot serve HTTP on the new address, keeping the old one", "error", err)
	}
	if len(needRestart) > 0 {
		d.log.Warn("keys need a restart", "keys", strings.Join(needRestart, ","))
	}
	return nil
}

// rebindSMTP listens for SMTP on the addresses of the next configuration. It keeps
// the sockets of addresses that are in both configurations, and all sockets from
// systemd.
func (d *daemon) rebindSMTP(next *stores.Configuration) error {
	passed := slices.ContainsFunc(d.sockets, func(s listen.Socket) bool { return s.Passed })
	if passed || slices.Equal(d.cfg.Listen, next.Listen) {
		return nil
	}
	sockets, err := listen.Rebind(d.sockets, next.Listen)
	if err != nil {
		return err
	}
	if err := d.server.Relisten(listeners(sockets)); err != nil {
		return err
	}
	old := d.sockets
	d.sockets = sockets
	closeExcept(old, sockets)
	return nil
}

// limitMemory sets the memory limit of the garbage collector from the cgroup's
// limit, less the message buffers, which the collector does not manage. The limit
// is at least half of the cgroup's: a lower one would keep the collector busy.
func limitMemory(cfg *config.Config) {
	limit, ok := config.CgroupMemoryMax()
	if os.Getenv("GOMEMLIMIT") != "" || !ok {
		return
	}
	debug.SetMemoryLimit(max(limit-cfg.Memory, limit/2) / 10 * 9)
}

// spareProcessor sets GOMAXPROCS to one more than the number of processors, if there are
// several and the environment does not set it. A writer is in a system call for most of its
// time. If no processor of Go's scheduler is free then, Go's monitor thread takes away that of
// the writer, and wakes up every 20 µs to look for the next, which costs a tenth of the
// daemon's time.
func spareProcessor() {
	if n := runtime.GOMAXPROCS(0); n > 1 && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n + 1)
	}
}

// sessionSettings returns the settings of the sessions.
func (d *daemon) sessionSettings(c *change) *session.Settings {
	cfg := c.cfg
	s := &session.Settings{
		HostName:    cfg.HostName,
		PrimaryHost: cfg.PrimaryHost,
		Hosts:       cfg.Hosts,
		MaxSize:     cfg.MaxSize,
		Timeout:     cfg.Timeout,
		StartTLS:    len(cfg.Certificates) > 0,
		Verbose:     cfg.Verbose,
		Trusted:     cfg.Trusted,
		Fits:        c.store.Fits,
	}
	if cfg.Recipients.Query != nil {
		s.Recipients = d.recipients
	}
	return s
}

// serverSettings returns the settings of the SMTP server.
func serverSettings(cfg *stores.Configuration, limits clientLimits) smtpd.Settings {
	s := smtpd.Settings{MaxClients: limits.smtp, MaxClientsPerIP: cfg.MaxClientsPerIP, Memory: cfg.Memory, ProxyProtocol: cfg.ProxyProtocol}
	if len(cfg.Certificates) > 0 {
		// crypto/tls chooses the first one that has the client's name and an algorithm that
		// the client supports, else the first one.
		s.TLS = &tls.Config{Certificates: cfg.Certificates}
	}
	return s
}

// metricsConfig returns the part of a configuration that the metrics show.
func metricsConfig(c *change, limits clientLimits) *metrics.Config {
	m := &metrics.Config{Host: c.cfg.HostName, MaxClients: limits.smtp, Memory: c.cfg.Memory, Store: c.cfg.SaveMail, RedisUp: c.store.RedisUp()}
	for _, pair := range c.cfg.Certificates {
		m.Certificates = append(m.Certificates, metrics.Certificate{Name: certificateName(pair.Leaf), Key: pair.Leaf.PublicKeyAlgorithm.String(), Ends: pair.Leaf.NotAfter})
	}
	return m
}
