package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/authhttp"
	"goguerrillad/internal/commit"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/logging"
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
)

// daemon is what runs, and what a reload changes.
type daemon struct {
	flags      flags
	cfg        *stores.Configuration
	log        *logging.Log
	files      int // descriptors that the process may have open
	limits     clientLimits
	sockets    []listen.Socket
	settings   atomic.Pointer[session.Settings]
	repeats    *session.Repeats
	recipients *recipient.Directory
	committer  *commit.Committer
	server     *smtpd.Server
	shown      atomic.Pointer[metrics.Config]
	authHTTP   *authhttp.Server
	metrics    *metrics.Server
	authWeb    *web // serves authHTTP
	statusWeb  *web // serves metrics
}

// reload reads the configuration anew, checks all that can fail, and then
// swaps. An error means that nothing has changed.
func (d *daemon) reload() error {
	err := d.tryReload()
	d.metrics.Reloaded(err)
	return err
}

func (d *daemon) tryReload() error {
	cfg, err := d.flags.load()
	if err != nil {
		return err
	}
	if err := logging.Check(cfg.LogFile); err != nil {
		return fmt.Errorf("%s: GSMTP_LOG_FILE: %w", cfg.File, err)
	}
	store, err := d.openStore(cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.File, err)
	}
	kept := cfg.NeedsRestart(d.cfg.Config)
	web, stay, err := d.rebindWebs(cfg)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	kept = append(kept, stay...)
	if d.moves(cfg) {
		switch err := d.move(cfg); {
		case errors.Is(err, unix.EACCES):
			kept = append(kept, "GSTMP_LISTEN_INTERFACE") // a privileged port
			cfg.Listen = d.cfg.Listen
		case err != nil:
			d.forgetWebs(web)
			return errors.Join(fmt.Errorf("%s: GSTMP_LISTEN_INTERFACE: %w", cfg.File, err), store.Close())
		}
	}

	if err := d.log.Reopen(cfg.LogFile); err != nil {
		// It could be opened a moment ago; the old one goes on.
		d.log.Error("the log stays where it was", "error", err)
	}
	d.log.SetVerbose(cfg.Verbose)
	limitMemory(cfg)
	d.cfg, d.limits = cfg, limitClients(cfg, d.files)
	d.show(cfg, store)
	d.recipients.Use(store.Recipients, cfg.Recipients.Cache)
	d.settings.Store(d.sessionSettings(store))
	d.server.Reload(serverSettings(cfg, d.limits))
	d.committer.Swap(store.Store, store.Options)
	if err := d.moveWebs(web); err != nil {
		d.log.Error("a server stays where it was", "error", err)
	}
	d.warn()
	if len(kept) > 0 {
		d.log.Warn("takes effect at the next start only", "keys", strings.Join(kept, ","))
	}
	return nil
}

// moves reports whether a configuration has other addresses to listen on.
// Sockets of systemd's stay what they are.
func (d *daemon) moves(next *stores.Configuration) bool {
	passed := slices.ContainsFunc(d.sockets, func(s listen.Socket) bool { return s.Passed })
	return !passed && !slices.Equal(d.cfg.Listen, next.Listen)
}

// move listens on the addresses of a configuration in place of the old ones;
// what stands in both lists is not touched.
func (d *daemon) move(next *stores.Configuration) error {
	sockets, err := listen.Rebind(d.sockets, next.Listen)
	if err != nil {
		return err
	}
	if err := d.server.Relisten(descriptors(sockets)); err != nil {
		return err
	}
	old := d.sockets
	d.sockets = sockets
	closeSockets(old, sockets)
	return nil
}

// stop closes everything in this order, which is the way of a message. What ctx
// cuts short was not acknowledged.
//
//  1. auth_http, so that nginx sends no more clients here.
//  2. The listening sockets. If they are the daemon's own, new clients turn to
//     another exchanger; if they are systemd's, they wait for the next process.
//  3. The sessions, after the transactions in flight.
//  4. The connections of GM_RECIPIENT_QUERY, which only sessions and auth_http
//     use. SQLite merges the WAL into the file only when the store's connection
//     is the last one.
//  5. The Committer: what was submitted gets its outcome, and the store closes,
//     after a last attempt to settle unknown outcomes.
//  6. The metrics, which report until then.
//
// The log closes last (serve).
func (d *daemon) stop(ctx context.Context) {
	if err := d.authWeb.stop(ctx); err != nil { // first: nginx must not be sent here any more
		d.log.Warn("the stop was cut short", "error", err)
	}
	d.authHTTP.Close()
	if err := d.server.Relisten(nil); err != nil {
		d.log.Error("stop listening", "error", err)
	}
	closeSockets(d.sockets, nil)
	cut := func(err error) {
		if err != nil {
			d.log.Warn("the stop was cut short, senders will try again", "error", err)
		}
	}
	cut(d.server.Shutdown(ctx))
	d.recipients.Close() // within the time limit of a query
	cut(d.committer.Drain(ctx))
	d.repeats.Close()
	d.report()
	d.metrics.Close()
	if err := d.statusWeb.stop(ctx); err != nil {
		d.log.Warn("the stop was cut short", "error", err)
	}
}

// report logs the counters.
func (d *daemon) report() {
	s, c, r := d.server.Stats(), d.committer.Counters(), d.recipients.Stats()
	up, since, lastErr := d.committer.State()
	d.log.Info("counters",
		"sessions", s.Sessions, "memory", s.Memory, "waiting", s.Waiting, "queued", c.Queued,
		"connections", s.Accepted, "full", s.RefusedFull, "full_address", s.RefusedIP, "proxy_headers", s.RefusedHeaders, "accept_errors", s.AcceptErrors,
		"messages", c.Messages, "rows", c.Rows, "batches", c.Batches,
		"recipient_queries", r.Asked, "recipient_queries_failed", r.Failed, "recipients_known", r.Cached,
		"unavailable", c.Unavailable, "rejected", c.Rejected, "refused", c.Refused, "unknown", c.Unknown,
		"tls", s.TLS12+s.TLS13, "tls_failed", s.TLSFailed, "expired", s.Expired,
		"store_up", up, "since", since, "last_error", lastErr)
}

// status is one line for people. Everybody can read it.
func (d *daemon) status() string {
	s, c := d.server.Stats(), d.committer.Counters()
	up, since, lastErr := d.committer.State()
	store := "up"
	if !up {
		store = "down since " + since.Format(time.DateTime)
		if lastErr != nil {
			store += ": " + strings.TrimPrefix(lastErr.Error(), savemail.ErrUnavailable.Error()+": ")
		}
	}
	return fmt.Sprintf("%d sessions, %d mails stored, store %s", s.Sessions, c.Messages, store)
}

// alive returns nil when every loop has come round and no commit is overdue. A
// database that is away is no reason to complain of ourselves.
func (d *daemon) alive(ctx context.Context) error {
	return errors.Join(d.server.Ping(ctx), d.committer.Alive())
}

// warn logs what is allowed but probably not meant.
func (d *daemon) warn() {
	for _, w := range warnings(d.cfg, d.limits) {
		d.log.Warn(w)
	}
}

// warnings are those of a configuration and of this machine.
func warnings(cfg *stores.Configuration, limits clientLimits) []string {
	if limits.warning == "" {
		return cfg.Warnings
	}
	return append(slices.Clone(cfg.Warnings), limits.warning)
}

// sessionSettings are those of the current configuration.
func (d *daemon) sessionSettings(store stores.Store) *session.Settings {
	cfg := d.cfg
	s := &session.Settings{
		HostName:    cfg.HostName,
		PrimaryHost: cfg.PrimaryHost,
		Hosts:       cfg.Hosts,
		MaxSize:     cfg.MaxSize,
		Timeout:     cfg.Timeout,
		StartTLS:    cfg.Certificate != nil,
		Verbose:     cfg.Verbose,
		Trusted:     cfg.Trusted,
		Fits:        store.Fits,
	}
	if cfg.Recipients.Query != nil {
		s.Recipients = d.recipients
	}
	return s
}

func serverSettings(cfg *stores.Configuration, limits clientLimits) smtpd.Settings {
	s := smtpd.Settings{MaxClients: limits.smtp, MaxClientsPerIP: cfg.MaxClientsPerIP, Memory: cfg.Memory, ProxyProtocol: cfg.ProxyProtocol}
	if cfg.Certificate != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*cfg.Certificate}, MinVersion: tls.VersionTLS12}
	}
	return s
}

func descriptors(sockets []listen.Socket) []int {
	fds := make([]int, len(sockets))
	for i, s := range sockets {
		fds[i] = s.FD
	}
	return fds
}

func addresses(sockets []listen.Socket) string {
	names := make([]string, len(sockets))
	for i, s := range sockets {
		names[i] = s.Addr.String()
	}
	return strings.Join(names, ",")
}
