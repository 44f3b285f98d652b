package servers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/test"
)

// Processes returns the ids of the main process and of its children. Each child is in a
// process group of its own.
func (s *PostgresServer) Processes() []int {
	pids := []int{s.Pid()}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.Pid()))
	for _, task := range tasks {
		children, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(children)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// signal sends a signal to all processes.
func (s *PostgresServer) signal(sig syscall.Signal) {
	for _, pid := range s.Processes() {
		syscall.Kill(pid, sig) // fails if the process has ended
	}
}

// Kill ends all processes with SIGKILL, like a crash of the machine without the loss of
// cached data.
func (s *PostgresServer) Kill() {
	if s.Ended() {
		return
	}
	s.freeze()
	pids := s.Processes()
	s.segments.record(pids)
	for _, pid := range pids[1:] {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.process.Kill()
	for _, pid := range pids[1:] {
		awaitState(pid, "ZX")
	}
}

// freeze stops the main process, which then starts no other process.
func (s *PostgresServer) freeze() {
	s.process.Signal(syscall.SIGSTOP)
	awaitState(s.Pid(), "TZX")
}

// Pause stops all processes (SIGSTOP); the kernel still accepts connections for them.
func (s *PostgresServer) Pause(t test.T) {
	t.Helper()
	s.freeze()
	s.signal(syscall.SIGSTOP)
	for _, pid := range s.Processes() {
		if !awaitState(pid, "TZX") {
			t.Fatalf("process %d of PostgreSQL has not stopped", pid)
		}
	}
}

// Continue continues a paused server.
func (s *PostgresServer) Continue(t test.T) {
	t.Helper()
	s.signal(syscall.SIGCONT)
}

// awaitState waits until a process has one of the states in proc_pid_stat(5) or has ended,
// and returns false after 10 s.
func awaitState(pid int, states string) bool {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return true
		}
		// The name, in parentheses, may contain any byte.
		if i := bytes.LastIndex(stat, []byte(") ")); i > 0 && strings.IndexByte(states, stat[i+2]) >= 0 {
			return true
		}
	}
	return false
}

// segments are the shared memory of killed processes. The next start of the server removes
// it; without a start it would stay in the system.
type segments struct {
	files []string
	ids   map[int]int // System V: id to creator
}

// record reads the shared memory that the processes use. The first one is the main process.
func (g *segments) record(pids []int) {
	if g.ids == nil {
		g.ids = map[int]int{}
	}
	for _, pid := range pids {
		maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		for line := range strings.Lines(string(maps)) {
			fields := strings.Fields(line) // address, permissions, offset, device, inode, path
			switch {
			case len(fields) < 6:
			case strings.HasPrefix(fields[5], "/dev/shm/PostgreSQL."):
				g.files = append(g.files, fields[5])
			case strings.HasPrefix(fields[5], "/SYSV"):
				if id, err := strconv.Atoi(fields[4]); err == nil {
					g.ids[id] = pids[0]
				}
			}
		}
	}
}

// remove removes what the server has not removed itself.
func (g *segments) remove() {
	for _, file := range g.files {
		os.Remove(file)
	}
	for id, creator := range g.ids {
		var d unix.SysvShmDesc
		if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err == nil && int(d.Cpid) == creator && d.Nattch == 0 {
			unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		}
	}
}
