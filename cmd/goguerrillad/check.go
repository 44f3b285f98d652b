package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"goguerrillad/internal/daemon"
	"goguerrillad/internal/logging"
	"goguerrillad/internal/privdrop"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/stores"
	"goguerrillad/internal/unit"
)

// databaseTimeout bounds the checks of the database by -t.
const databaseTimeout = 10 * time.Second

// A checker collects what -t finds. The first error ends the check.
type checker struct {
	stderr    io.Writer
	warnings  int
	unchecked []string // what could not be checked
	hidden    bool     // systemd 252 hides the credentials of the service from ExecReload=
}

// check is -t: it checks the configuration as the user of the service and returns the exit
// status. It stores nothing and leaves no file behind.
func check(f flags, stdout, stderr io.Writer) int {
	c := &checker{stderr: stderr}
	root := os.Geteuid() == 0
	if root && f.service != nil {
		cleanup, err := f.service.Become()
		defer cleanup()
		if err != nil {
			return refuse(stderr, err)
		}
	}
	if _, err := os.ReadDir(os.Getenv("CREDENTIALS_DIRECTORY")); errors.Is(err, fs.ErrPermission) {
		c.hidden = true
		os.Unsetenv("CREDENTIALS_DIRECTORY")
	}
	cfg, err := f.load()
	if err != nil {
		return refuseFile(f, stdout, stderr, err)
	}
	where := daemon.Where{Unprivileged: f.service != nil || !root && os.Getenv("INVOCATION_ID") != ""}
	if f.service != nil && f.service.Sockets {
		where.Passed = []string{"smtp"}
	}
	for _, w := range daemon.Warnings(cfg, where) {
		c.warn(w)
	}
	if err := c.files(f.service, cfg); err != nil {
		return refuse(stderr, fmt.Errorf("%s: %w", f.config, asUser(err)))
	}
	if root && f.service == nil {
		if cfg.User.Name == "" {
			c.warn("a start as root is refused without GUID")
		} else if err := privdrop.Become(cfg.User.Num, cfg.Group.Num, nil); err != nil {
			return refuse(stderr, err)
		}
	}
	if err := c.database(f.service, cfg); err != nil {
		return refuse(stderr, fmt.Errorf("%s: %w", f.config, asUser(err)))
	}
	fmt.Fprintf(stdout, "%s: configuration is %s\n", f.config, c.verdict())
	return exitOK
}

// asUser adds this process's user to an error about a missing right.
func asUser(err error) error {
	if u, unknown := user.LookupId(strconv.Itoa(os.Geteuid())); unknown == nil && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w for the user %s", err, u.Username)
	}
	return err
}

func (c *checker) warn(text string) {
	c.warnings++
	fmt.Fprintln(c.stderr, "goguerrillad: warning:", text)
}

// skip reports that something was not checked.
func (c *checker) skip(what string, reason any) {
	c.unchecked = append(c.unchecked, what)
	fmt.Fprintf(c.stderr, "goguerrillad: %s was not checked: %v\n", what, reason)
}

// verdict returns "good" if everything was checked and nothing is wrong.
func (c *checker) verdict() string {
	var parts []string
	switch {
	case c.warnings == 1:
		parts = append(parts, "1 warning")
	case c.warnings > 1:
		parts = append(parts, fmt.Sprint(c.warnings, " warnings"))
	}
	if len(c.unchecked) > 0 {
		parts = append(parts, strings.Join(c.unchecked, " and ")+" not checked")
	}
	if len(parts) == 0 {
		return "good"
	}
	return "valid: " + strings.Join(parts, ", ")
}

// files checks the files that the daemon writes, and what the sandbox of the service permits.
func (c *checker) files(service *unit.Service, cfg *stores.Configuration) error {
	for _, p := range cfg.Paths() {
		if service == nil || p.Path == "" || strings.HasPrefix(p.Path, "/dev/std") {
			continue
		}
		if reason := service.Forbids(p.Path, p.Write); reason != "" {
			return fmt.Errorf("%s: %q: %s", p.Key, p.Path, reason)
		}
	}
	if err := logging.Verify(cfg.LogFile); errors.Is(err, fs.ErrNotExist) && service != nil && service.Creates(cfg.LogFile) {
		return nil
	} else if err != nil {
		return fmt.Errorf("GSMTP_LOG_FILE: %w", err)
	}
	return nil
}

// database checks the store and the recipient query. A database that cannot be reached is not
// an error, since the daemon can start without it.
func (c *checker) database(service *unit.Service, cfg *stores.Configuration) error {
	if service != nil && len(service.Unreadable) > 0 {
		c.skip("the database", "only systemd can read the credential "+strings.Join(service.Unreadable, ", "))
		return nil
	}
	if c.hidden {
		c.skip("the database", "systemd hides the credentials from ExecReload=")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()
	// ExecReload= of the service must not run the triggers of the table at each reload.
	warnings, err := cfg.Inspect(ctx, os.Getenv("INVOCATION_ID") == "")
	for _, w := range warnings {
		c.warn(w)
	}
	if errors.Is(err, savemail.ErrUnavailable) {
		c.skip("the store", strings.TrimPrefix(err.Error(), savemail.ErrUnavailable.Error()+": "))
	} else if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(context.Background(), databaseTimeout) // the store may have used up the time
	defer cancel()
	switch err := cfg.TryQuery(ctx); {
	case errors.Is(err, recipient.ErrInvalid):
		return fmt.Errorf("GM_RECIPIENT_QUERY: %w", err)
	case err != nil:
		c.skip("GM_RECIPIENT_QUERY", err)
	}
	return nil
}
