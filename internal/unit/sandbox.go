package unit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Forbids returns why the sandbox of the service does not permit to read a path, or to write
// it, and the change of the unit that permits it. It returns "" if the path is permitted.
func (s *Service) Forbids(path string, write bool) string {
	path = filepath.Join("/", path) // the working directory of the service
	home := s.properties["ProtectHome"]
	for _, dir := range []string{"/home", "/root", "/run/user"} {
		if below(path, dir) && (home == "yes" || home == "tmpfs" || home == "read-only" && write) {
			return fmt.Sprintf("ProtectHome=%s of %s forbids %s: want a path below /var/lib/goguerrillad, or ProtectHome=no in a drop-in", home, name, dir)
		}
	}
	for _, dir := range []string{"/tmp", "/var/tmp"} {
		if below(path, dir) && s.properties["PrivateTmp"] == "yes" {
			return fmt.Sprintf("PrivateTmp=yes of %s gives the service a %s of its own, which ends with it: want a path below /var/lib/goguerrillad", name, dir)
		}
	}
	if !write || s.writable(path) {
		return ""
	}
	return fmt.Sprintf("ProtectSystem=%s of %s makes it read-only: %s", s.properties["ProtectSystem"], name, remedy(path))
}

// writable reports whether ProtectSystem= permits to write a path.
func (s *Service) writable(path string) bool {
	var readOnly []string
	switch s.properties["ProtectSystem"] {
	case "strict":
		readOnly = []string{"/"}
	case "full":
		readOnly = []string{"/usr", "/boot", "/efi", "/etc"}
	case "yes":
		readOnly = []string{"/usr", "/boot", "/efi"}
	}
	exempt := s.directories()
	for _, p := range strings.Fields(s.properties["ReadWritePaths"] + " " + s.properties["BindPaths"]) {
		p, _, _ = strings.Cut(p, ":")
		exempt = append(exempt, strings.TrimLeft(p, "-+"))
	}
	for _, dir := range append(exempt, "/dev", "/proc", "/sys") {
		if below(path, dir) {
			return true
		}
	}
	for _, dir := range readOnly {
		if below(path, dir) {
			return false
		}
	}
	return true
}

// directories returns the directories that systemd creates when it starts the service.
func (s *Service) directories() (list []string) {
	for key, dir := range map[string]string{"StateDirectory": "/var/lib", "LogsDirectory": "/var/log", "CacheDirectory": "/var/cache", "RuntimeDirectory": "/run"} {
		for _, d := range strings.Fields(s.properties[key]) {
			list = append(list, filepath.Join(dir, d))
		}
	}
	return list
}

// Creates reports whether systemd creates the directory of a path when it starts the service.
func (s *Service) Creates(path string) bool {
	return slices.Contains(s.directories(), filepath.Dir(path))
}

// below reports whether a clean path is dir or below it.
func below(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// remedy returns the drop-in that makes the directory of a path writable.
func remedy(path string) string {
	dir := filepath.Dir(path)
	if dir == "/var/log/goguerrillad" {
		return "add LogsDirectory=goguerrillad to [Service] (systemctl edit goguerrillad)"
	}
	return fmt.Sprintf("add ReadWritePaths=%s to [Service] (systemctl edit goguerrillad)", dir)
}

// Explain adds to an error about a path of a running service the sandbox, if that can be the
// cause.
func Explain(path string, err error) error {
	if err == nil || os.Getenv("INVOCATION_ID") == "" || !errors.Is(err, unix.EROFS) {
		return err
	}
	return fmt.Errorf("%w in the sandbox of %s: %s", err, name, remedy(path))
}

// ReadOnly returns why the running service cannot write a path, if the sandbox can be the
// cause, else nil.
func ReadOnly(path string) error {
	err := unix.Faccessat(unix.AT_FDCWD, filepath.Dir(path), unix.W_OK, unix.AT_EACCESS)
	if !errors.Is(err, unix.EROFS) {
		return nil
	}
	return Explain(path, err)
}
