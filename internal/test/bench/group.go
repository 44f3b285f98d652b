package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A group is the directory of a control group, version 2. The kernel adds the CPU time of
// all processes in the group, also of those that no parent waits for.
type group string

// newGroup moves a process to a new group. The children that it starts later are in the
// group too, and end with the benchmark.
func newGroup(h *harness, pid int) group {
	root := ""
	for line := range strings.Lines(contents("/proc/mounts")) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" { // device, mount point, type
			root = f[1]
		}
	}
	if root == "" {
		h.Skipf("no control groups of version 2 on this machine")
	}
	g := group(filepath.Join(root, fmt.Sprintf("goguerrillad-bench-%d", pid)))
	if err := os.Mkdir(string(g), 0o755); err != nil {
		h.Skipf("no control group on this machine: %v", err)
	}
	h.Cleanup(func() {
		if err := g.end(); err != nil {
			h.Logf("end a control group: %v", err)
		}
	})
	if err := os.WriteFile(g.file("cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		h.Fatalf("move a process to a control group: %v", err)
	}
	return g
}

func (g group) file(name string) string { return filepath.Join(string(g), name) }

// cpu returns the CPU time, rounded down to the unit of /proc.
func (g group) cpu() (time.Duration, error) {
	usage, err := strconv.ParseInt(field(contents(g.file("cpu.stat")), "usage_usec", " "), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of a control group: %w", err)
	}
	return (time.Duration(usage) * time.Microsecond).Truncate(tick), nil
}

// processes returns the running processes, first the process with the given id.
func (g group) processes(first int) []int {
	pids := []int{first}
	for text := range strings.FieldsSeq(contents(g.file("cgroup.procs"))) {
		if pid, err := strconv.Atoi(text); err == nil && pid != first {
			pids = append(pids, pid)
		}
	}
	return pids
}

// end kills the processes and removes the group.
func (g group) end() error {
	if err := os.WriteFile(g.file("cgroup.kill"), []byte("1"), 0); err != nil {
		return err
	}
	for range 100 {
		if contents(g.file("cgroup.procs")) == "" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return os.Remove(string(g))
}
