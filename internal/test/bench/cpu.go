package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU times in /proc, USER_HZ: 1/100 s on every architecture
// of Go (proc(5)).
const tick = 10 * time.Millisecond

// machineCPU returns the CPU time of all processes of the machine since its boot.
func machineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	return parseMachineCPU(string(text))
}

// parseMachineCPU adds user, nice, system and steal of /proc/stat; user includes guest.
// It adds softirq, which is mostly the loopback traffic of the benchmark, only if irq is
// 0: such a kernel samples at each tick and also charges softirq to the running process.
// A kernel that measures interrupts charges them to no process.
func parseMachineCPU(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: %q is not the expected line", line)
	}
	used := []string{f[1], f[2], f[3], f[8]}
	if f[6] == "0" {
		used = append(used, f[7])
	}
	return ticks(used...)
}

// processCPU returns the user and system time of processes and of their ended children.
// All processes except the first may be children that have ended meanwhile.
func processCPU(pids []int) (time.Duration, error) {
	var sum time.Duration
	for i, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read a server's CPU time: %w", err)
		}
		cpu, err := parseProcessCPU(string(text))
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}

// parseProcessCPU reads fields 14 to 17 of /proc/PID/stat. Field 2, the name in
// parentheses, may contain blanks and parentheses.
func parseProcessCPU(text string) (time.Duration, error) {
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 15 {
		return 0, fmt.Errorf("/proc/PID/stat: %q is too short", text)
	}
	return ticks(f[11:15]...)
}

func ticks(fields ...string) (time.Duration, error) {
	var sum uint64
	for _, f := range fields {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time in /proc: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// ownCPU returns the CPU time of this process.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read the CPU time of this process: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// withChildren returns a process and its running children.
func withChildren(pid int) []int {
	pids := []int{pid}
	// There is one list for each thread, with the processes that the thread has started.
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		for _, child := range strings.Fields(contents(list)) {
			if n, err := strconv.Atoi(child); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// A reading has the CPU times before or after a measurement.
type reading struct{ machine, server, own time.Duration }

// readCPU returns the CPU times now; server returns that of the server.
func readCPU(server func() (time.Duration, error)) (r reading, err error) {
	if r.machine, err = machineCPU(); err != nil {
		return r, err
	}
	if r.server, err = server(); err != nil {
		return r, err
	}
	r.own, err = ownCPU()
	return r, err
}

// foreign returns the share of the CPU time of the machine, 0 to 1, that other processes
// than the server, the client and this program used between two readings. wall is the time
// between them.
func foreign(before, after reading, client, wall time.Duration, cpus int) float64 {
	used := after.machine - before.machine
	ours := after.server - before.server + after.own - before.own + client
	return min(max(0, (used-ours).Seconds()/(wall.Seconds()*float64(cpus))), 1)
}

// awaitIdle waits for at most 1 s until a server has used no CPU for 50 ms, and returns its
// CPU time, which cpu reads. The work of a server after its last 250 is thus part of the cost
// of the messages.
func awaitIdle(cpu func() (time.Duration, error)) (time.Duration, error) {
	last, err := cpu()
	for range 20 {
		if err != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
		was := last
		if last, err = cpu(); err == nil && last == was {
			break
		}
	}
	return last, err
}

// peakRSS returns the sum of the peak resident sets of processes, in bytes.
func peakRSS(pids []int) (int64, error) { return memory(pids, "VmHWM") }

// rss returns the sum of the current resident sets of processes, in bytes.
func rss(pids []int) (int64, error) { return memory(pids, "VmRSS") }

func memory(pids []int, name string) (int64, error) {
	var sum int64
	for i, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read a server's memory: %w", err)
		}
		sum += kilobytes(string(text), name) << 10
	}
	return sum, nil
}

// kilobytes returns the value of a line "name:  N kB", 0 if there is none.
func kilobytes(text, name string) int64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n
		}
	}
	return 0
}
