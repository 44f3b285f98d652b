package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestVersion: the version is the one in the first heading of CHANGELOG.md. Unless the
// commit has the tag of the version, the version also contains the commit.
func TestVersion(t *testing.T) {
	script, err := filepath.Abs("../../packaging/version.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir),
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	check := func(when, want string) {
		t.Helper()
		if got := run("sh", script); !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("%s: the version is %s, want %s", when, got, want)
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "CHANGELOG.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# Changes\n\n## 2.1.0 - 2026-12-24\n\n## 2.0.0\n")
	check("without git", `2\.1\.0`)
	run("git", "init", "-q")
	run("git", "add", "-A")
	run("git", "commit", "-qm", "one")
	check("without a tag", `2\.1\.0\+1\.g[0-9a-f]{12}`)
	run("git", "tag", "v2.1.0")
	check("at the tag", `2\.1\.0`)
	write("# Changes\n\n## 2.1.0 - 2026-12-25\n")
	check("with uncommitted changes", `2\.1\.0\+1\.g[0-9a-f]{12}\.dirty`)
	run("git", "commit", "-qam", "two")
	check("after the tag", `2\.1\.0\+2\.g[0-9a-f]{12}`)
	dir = filepath.Dir(filepath.Dir(script))
	check("this tree", `\d+\.\d+\.\d+(\+.*)?`)
}
