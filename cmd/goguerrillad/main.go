// Goguerrillad receives messages by SMTP and commits each message to a database
// before it acknowledges it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/daemon"
	"goguerrillad/internal/listing"
	"goguerrillad/internal/logging"
	"goguerrillad/internal/migrate"
	"goguerrillad/internal/privdrop"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/service"
	"goguerrillad/internal/stores"
)

// Set by the linker.
var (
	version = "unknown"
	commit  = "unknown"
)

// Exit statuses, goguerrillad(8). exitConfig is EX_CONFIG of sysexits(3).
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program: it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	f, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "goguerrillad:", err)
		return exitUsage
	case f.version:
		fmt.Fprintf(stdout, "goguerrillad %s (commit %s, %s)\n", version, commit, runtime.Version())
		return exitOK
	}

	var signals chan os.Signal
	if !f.reads() {
		signals = service.QueueSignals()
	}
	if err := f.findConfig(); err != nil {
		return refuse(stderr, err)
	}
	if f.test {
		return check(f, stdout, stderr)
	}
	if f.service != nil && os.Geteuid() == 0 { // -list or -show
		cleanup, err := f.service.CopyCredentials()
		defer cleanup()
		if err != nil {
			return refuse(stderr, err)
		}
	}
	cfg, err := f.load()
	if err != nil {
		return refuseFile(f, stdout, stderr, err)
	}
	if f.reads() && os.Geteuid() == 0 && cfg.Peer() {
		if err := f.switchUser(cfg); err != nil {
			return refuse(stderr, err)
		}
	}
	switch {
	case f.list.N > 0:
		err = withReader(cfg, func(ctx context.Context, r savemail.Reader) error {
			return listing.List(ctx, stdout, r, f.list, f.json)
		})
	case f.show != "":
		err = withReader(cfg, func(ctx context.Context, r savemail.Reader) error { return listing.Show(ctx, stdout, r, f.show) })
	default:
		err := daemon.Run(cfg, daemon.Options{Version: version, Commit: commit, Load: f.load, Signals: signals, Stderr: stderr})
		return exitStatus(stderr, err)
	}
	if err != nil {
		fmt.Fprintln(stderr, "goguerrillad:", err)
		return exitFailed
	}
	return exitOK
}

// switchUser switches this process from root to the user of the service, else to GUID.
func (f flags) switchUser(cfg *stores.Configuration) error {
	switch {
	case f.service != nil:
		return f.service.SwitchUser()
	case cfg.User.Name != "":
		return privdrop.Become(cfg.User.Num, cfg.Group.Num, nil)
	}
	return nil
}

// exitStatus reports an error of the start and returns the exit status.
func exitStatus(stderr io.Writer, err error) int {
	var refused *daemon.ConfigError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &refused):
		return refuse(stderr, err)
	}
	printError(stderr, err)
	service.NotifyFailure("cannot start", err)
	return exitFailed
}

// refuseFile reports a file that cannot be used. It prints the equivalent of a file of
// another program for -t and for a start by hand, since the journal has one line.
func refuseFile(f flags, stdout, stderr io.Writer, err error) int {
	var other *migrate.Conversion
	if !errors.As(err, &other) || f.list.N > 0 || f.show != "" || !f.test && logging.UnderJournal() {
		return refuse(stderr, err)
	}
	status := refuse(stderr, fmt.Errorf("%s: %w; standard output has the equivalent", config.Printable(f.config), other))
	other.Print(stdout, stderr)
	return status
}

// refuse reports a configuration that cannot be used.
func refuse(stderr io.Writer, reason error) int {
	printError(stderr, reason)
	service.NotifyFailure("configuration refused", fmt.Errorf("%w; when it is corrected: systemctl restart goguerrillad.socket goguerrillad", reason))
	return exitConfig
}

// printError writes an error of the start to stderr. The journal reads the priority
// at the beginning of the line (sd-daemon(3)).
func printError(stderr io.Writer, err error) {
	priority := ""
	if logging.UnderJournal() {
		priority = "<3>"
	}
	fmt.Fprintf(stderr, "%sgoguerrillad: %v\n", priority, err)
}

// readTimeout bounds -list and -show.
const readTimeout = time.Minute

func withReader(cfg *stores.Configuration, do func(context.Context, savemail.Reader) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	r, err := cfg.OpenReader()
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, r), r.Close())
}
