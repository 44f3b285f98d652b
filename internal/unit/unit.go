// Package unit finds the systemd unit that runs the daemon with a configuration file, so that
// a check by root can see files as the service does.
package unit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"goguerrillad/internal/privdrop"
)

const (
	name    = "goguerrillad.service"
	timeout = 5 * time.Second // of systemctl
)

// A Service is the installed unit.
type Service struct {
	User    string // who runs it
	Sockets bool   // a socket unit starts it and passes the SMTP sockets
	// Unreadable are the names of the credentials that only systemd can read.
	Unreadable []string

	uid, gid    int
	groups      []int
	properties  map[string]string                 // systemctl show
	credentials map[string]func() ([]byte, error) // how root reads them, by name
}

// properties are the properties of the unit that this package uses (systemd.exec(5)).
var properties = []string{
	"LoadState", "ExecStart", "TriggeredBy", "User", "Group", "SupplementaryGroups",
	"StateDirectory", "LogsDirectory", "CacheDirectory", "RuntimeDirectory",
	"ProtectSystem", "ProtectHome", "PrivateTmp", "ReadWritePaths", "BindPaths",
}

// Find returns the unit if it runs the configuration file as an ordinary user, else nil. It
// needs a running systemd.
func Find(config string) (*Service, error) {
	config, err := filepath.Abs(config)
	if err != nil {
		return nil, err
	}
	out, err := systemctl("show", "--property="+strings.Join(properties, ","))
	if err != nil {
		return nil, nil // systemd does not run here
	}
	s := &Service{properties: map[string]string{}, credentials: map[string]func() ([]byte, error){}}
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			s.properties[key] = strings.TrimSpace(s.properties[key] + " " + value)
		}
	}
	if s.properties["LoadState"] != "loaded" || !s.runs(config) || s.properties["User"] == "" {
		return nil, nil
	}
	if err := s.lookUp(); err != nil {
		return nil, fmt.Errorf("the user of %s: %w", name, err)
	}
	if s.uid == 0 {
		return nil, nil
	}
	s.Sockets = s.properties["TriggeredBy"] != ""
	return s, s.findCredentials()
}

// systemctl runs a command on the unit and returns its output.
func systemctl(command ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", append(command, name)...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=") // systemctl would notify the manager of its errors
	return cmd.Output()
}

// findCredentials reads the credentials from the unit's files, since systemctl show prints
// no values.
func (s *Service) findCredentials() error {
	files, err := systemctl("cat")
	if err != nil {
		return fmt.Errorf("systemctl cat %s: %w", name, err)
	}
	options, err := unit.DeserializeOptions(bytes.NewReader(files))
	if err != nil {
		return fmt.Errorf("the files of %s: %w", name, err)
	}
	for _, o := range options {
		id, path, _ := strings.Cut(o.Value, ":")
		switch o.Name {
		case "LoadCredential":
			s.credentials[id] = func() ([]byte, error) { return os.ReadFile(path) }
		case "LoadCredentialEncrypted":
			s.credentials[id] = func() ([]byte, error) {
				return exec.Command("systemd-creds", "decrypt", "--name="+id, path, "-").Output()
			}
		case "SetCredential", "SetCredentialEncrypted":
			s.Unreadable = append(s.Unreadable, id)
		}
	}
	return nil
}

// runs reports whether ExecStart= has the configuration file.
func (s *Service) runs(config string) bool {
	_, argv, _ := strings.Cut(s.properties["ExecStart"], "argv[]=")
	argv, _, _ = strings.Cut(argv, " ;")
	args := strings.Fields(argv)
	for i, a := range args {
		flag, value, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if flag != "config" || !strings.HasPrefix(a, "-") {
			continue
		}
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		return value == config
	}
	return false
}

// lookUp finds the ids of the user and of its groups.
func (s *Service) lookUp() error {
	u, err := user.Lookup(s.properties["User"])
	if err != nil {
		if u, err = user.LookupId(s.properties["User"]); err != nil {
			return err
		}
	}
	s.User = u.Username
	ids, err := u.GroupIds()
	if err != nil {
		return err
	}
	groups := []string{u.Gid}
	if s.properties["Group"] != "" {
		groups[0] = s.properties["Group"]
	}
	for _, g := range append(groups, append(ids, strings.Fields(s.properties["SupplementaryGroups"])...)...) {
		id, err := strconv.Atoi(g)
		if err != nil {
			found, err := user.LookupGroup(g)
			if err != nil {
				return err
			}
			if id, err = strconv.Atoi(found.Gid); err != nil {
				return err
			}
		}
		s.groups = append(s.groups, id)
	}
	s.gid = s.groups[0]
	s.uid, err = strconv.Atoi(u.Uid)
	return err
}

// Become switches this process, which must be root, to the user and the environment of the
// service, permanently. cleanup removes the copies of the credentials.
func (s *Service) Become() (cleanup func(), err error) {
	s.SetStateDirectory()
	cleanup, err = s.CopyCredentials()
	if err != nil {
		return cleanup, fmt.Errorf("copy the credentials of %s: %w", name, err)
	}
	return cleanup, s.SwitchUser()
}

// SwitchUser switches this process, which must be root, to the user of the service,
// permanently.
func (s *Service) SwitchUser() error {
	if err := privdrop.Become(s.uid, s.gid, s.groups); err != nil {
		return fmt.Errorf("become the user %s of %s: %w", s.User, name, err)
	}
	return nil
}

// SetStateDirectory sets $STATE_DIRECTORY as systemd does for the service, unless it is set.
func (s *Service) SetStateDirectory() {
	if dirs := strings.Fields(s.properties["StateDirectory"]); len(dirs) > 0 && os.Getenv("STATE_DIRECTORY") == "" {
		os.Setenv("STATE_DIRECTORY", filepath.Join("/var/lib", dirs[0]))
	}
}

// CopyCredentials makes a directory with the credentials that root can read, and sets
// $CREDENTIALS_DIRECTORY to it. cleanup removes it.
func (s *Service) CopyCredentials() (cleanup func(), err error) {
	if len(s.credentials) == 0 {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "goguerrillad-check-")
	if err != nil {
		return func() {}, err
	}
	cleanup = func() { _ = os.RemoveAll(dir) } // it is empty, or contains what the user may read
	for id, read := range s.credentials {
		text, err := read()
		if err != nil || id != filepath.Base(id) {
			s.Unreadable = append(s.Unreadable, id)
			continue
		}
		copied := filepath.Join(dir, id)
		if err := errors.Join(os.WriteFile(copied, text, 0o400), os.Chown(copied, s.uid, s.gid)); err != nil {
			return cleanup, err
		}
	}
	os.Setenv("CREDENTIALS_DIRECTORY", dir)
	return cleanup, os.Chown(dir, s.uid, s.gid)
}
