package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"goguerrillad/internal/test"
)

// buildTimeout bounds one build, which may download all dependencies.
const buildTimeout = 10 * time.Minute

// installed returns the directory of a program in build/servers. If the directory does not
// exist, it runs the command that installs the program in another directory and renames
// that one, so that a canceled build leaves no program. Without the program, it skips the
// contestant.
func installed(ctx context.Context, h *harness, name string, install func(dir string) *exec.Cmd) string {
	root, err := test.ModuleRoot()
	if err != nil {
		h.Fatalf("%v", err)
	}
	dir := filepath.Join(root, "build", "servers", name)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		h.Fatalf("make a directory: %v", err)
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(dir), "unfinished-")
	if err != nil {
		h.Fatalf("make a directory: %v", err)
	}
	defer os.RemoveAll(unfinished)
	h.Logf("build %s", name)
	cmd := install(unfinished)
	limited, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	build := exec.CommandContext(limited, cmd.Path, cmd.Args[1:]...)
	build.Dir, build.Env, build.WaitDelay = h.dir, append(os.Environ(), cmd.Env...), time.Second
	if out, err := build.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			h.Fatalf("build %s: %v", name, context.Cause(ctx))
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		h.Skipf("cannot build %s: %v: %s", name, err, lines[len(lines)-1])
	}
	if err := os.Rename(unfinished, dir); err != nil {
		h.Fatalf("build %s: %v", name, err)
	}
	return dir
}

// goProgram builds the program of a Go module outside this module, so that go.mod does not
// name it. It returns the path of the program.
func goProgram(ctx context.Context, h *harness, name, path, version string) string {
	dir := installed(ctx, h, name+"-"+version, func(dir string) *exec.Cmd {
		cmd := exec.Command("go", "install", path+"@"+version)
		cmd.Env = []string{"GOBIN=" + dir, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off"}
		return cmd
	})
	return filepath.Join(dir, name)
}

// nodePackage installs a package of npm, without optional packages, and returns its
// directory.
func nodePackage(ctx context.Context, h *harness, name, version string) string {
	npm, err := test.LookPath("npm")
	if err != nil {
		h.Skipf("npm is not installed (package npm)")
	}
	dir := installed(ctx, h, name+"-"+version, func(dir string) *exec.Cmd {
		return exec.Command(npm, "install", "--prefix", dir, "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", name+"@"+version)
	})
	return filepath.Join(dir, "node_modules", name)
}
