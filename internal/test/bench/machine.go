package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"goguerrillad/internal/test"
)

// machine describes the machine; dir is the directory of the stores.
func machine(dir string) []setting {
	cpu := fmt.Sprintf("%d x %s", runtime.NumCPU(), orUnknown(field(contents("/proc/cpuinfo"), "model name", ":")))
	memory := kilobytes(contents("/proc/meminfo"), "MemTotal")
	return []setting{
		{"CPU", cpu + ", " + runtime.GOARCH},
		{"memory", fmt.Sprintf("%.0f GiB", float64(memory)/(1<<20))},
		{"kernel", "Linux " + strings.TrimSpace(contents("/proc/sys/kernel/osrelease"))},
		{"system", orUnknown(strings.Trim(field(contents("/etc/os-release"), "PRETTY_NAME", "="), `"`))},
		{"file system", orUnknown(fileSystem(contents("/proc/mounts"), dir))},
	}
}

// contents returns the content of a small file, "" if it cannot be read.
func contents(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// field returns the value of the first line with this name.
func field(text, name, separator string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, separator); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystem returns the type and the options of the file system of dir: of the last mount
// on the longest mount point that contains dir.
func fileSystem(mounts, dir string) string {
	found, longest := "", -1
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line) // device, mount point, type, options
		if len(f) < 4 {
			continue
		}
		inside, err := filepath.Rel(f[1], dir)
		if err == nil && filepath.IsLocal(inside) && len(f[1]) >= longest {
			found, longest = f[2]+" ("+f[3]+")", len(f[1])
		}
	}
	return found
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

func goVersion() string { return runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH }

// moduleVersion returns the version of a module in this program.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return path + " " + m.Version
			}
		}
	}
	return path + " unknown"
}

// sourceVersion describes the commit of the working tree, with "-dirty" if files differ.
func sourceVersion(ctx context.Context) string {
	root, err := test.ModuleRoot()
	if err != nil {
		return "unknown"
	}
	return orUnknown(output(ctx, "git", "-C", root, "describe", "--tags", "--always", "--dirty"))
}

// output returns the first line of a program's output, "" on an error.
func output(ctx context.Context, program string, args ...string) string {
	path, err := test.LookPath(program)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
