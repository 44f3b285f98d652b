package test

import (
	"errors"
	"os"
	"path/filepath"
)

// NeedRoot skips or fails the test, as Need does, unless it runs as root.
func NeedRoot(t T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("this test needs root, and CI=true allows no skip")
		}
		t.Skipf("this test needs root")
	}
}

// ModuleRoot returns the directory of go.mod, above the working directory.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// ReadSource returns the content of a file in this module; path is relative to its root.
func ReadSource(t T, path string) string {
	t.Helper()
	root, err := ModuleRoot()
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return string(text)
}

// PublicDir returns a temporary directory that every user may enter, unlike
// T.TempDir: servers drop the privileges of root.
func PublicDir(t T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "goguerrillad-test-")
	if err != nil {
		t.Fatalf("make a directory: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("remove the directory: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("change the mode of the directory: %v", err)
	}
	return dir
}

// ShortDir returns a temporary directory whose path is short enough for a unix socket
// in it, unlike t.TempDir.
func ShortDir(t T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ggtest")
	if err != nil {
		t.Fatalf("make a directory: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// WriteFile writes a file into dir, which every user may read, and returns its path.
func WriteFile(t T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return path
}

// Nobody is the id of the user nobody and the group nogroup.
const Nobody = 65534
