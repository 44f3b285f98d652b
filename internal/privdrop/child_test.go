package privdrop

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const uid, gid = 65533, 65532

// childVariable and filterVariable are the environment of a child of TestThreads: the
// case of attempt, and the system call to filter.
const (
	childVariable  = "PRIVDROP_TEST_CHILD"
	filterVariable = "PRIVDROP_TEST_FILTER"
)

// TestMain runs the tests, or in a child of TestThreads changes the privileges of
// the process while its threads are busy, and prints the result.
func TestMain(m *testing.M) {
	name := os.Getenv(childVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	startThreads(20)
	fmt.Println("result:", attempt(name))
	report()
}

// filter lets a system call fail in all threads ("setresuid refused"), or do nothing
// and report success ("setresuid ignored").
func filter() {
	name, how, found := strings.Cut(os.Getenv(filterVariable), " ")
	if !found {
		return
	}
	call := map[string]uint32{
		"setgroups": unix.SYS_SETGROUPS, "setresgid": unix.SYS_SETRESGID, "setresuid": unix.SYS_SETRESUID,
		"capset": unix.SYS_CAPSET, "prctl": unix.SYS_PRCTL,
	}[name]
	errno := map[string]uint32{"refused": uint32(unix.EPERM), "ignored": 0}[how]
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | errno},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, err := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if err != 0 {
		must(err)
	}
}

// attempt prepares the process for the named case, and returns the result of the
// function under test.
func attempt(name string) error {
	switch name {
	case "drop":
		filter()
		return Drop(uid, gid)
	case "drop with kept capabilities":
		must(prctlAll(unix.PR_SET_SECUREBITS, noSetuidFixup|keepCaps))
		filter()
		return Drop(uid, gid)
	case "drop to 1":
		return Drop(1, 1)
	case "drop to root":
		return Drop(0, gid)
	case "drop to root's group":
		return Drop(uid, 0)
	case "refuse root":
		return RefuseRoot()
	case "refuse root after drop":
		must(Drop(uid, gid))
		return RefuseRoot()
	case "refuse saved root":
		must(syscall.Setresuid(uid, uid, 0))
		return RefuseRoot()
	case "drop capabilities":
		must(prctlAll(unix.PR_SET_SECUREBITS, noSetuidFixup))
		must(syscall.Setgroups([]int{gid + 1}))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, uid))
		filter()
		return DropCapabilities()
	case "drop capabilities without proc":
		return withoutProc(DropCapabilities)
	case "verify without proc":
		return withoutProc(func() error { return verify(uid, gid) })
	case "verify":
		must(Drop(uid, gid))
		filter()
		return verify(uid, gid)
	case "verify unchanged":
		return verify(uid, gid)
	case "verify change of one thread":
		// The raw system call changes only the thread that makes it.
		must(prctlAll(unix.PR_SET_NO_NEW_PRIVS, 1))
		runtime.LockOSThread()
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(gid, gid, gid))
		if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			return errno
		}
		return verify(uid, gid)
	case "verify with groups":
		must(prctlAll(unix.PR_SET_NO_NEW_PRIVS, 1))
		must(syscall.Setgroups([]int{0, 4}))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, uid))
		return verify(uid, gid)
	case "verify with saved root":
		must(prctlAll(unix.PR_SET_NO_NEW_PRIVS, 1))
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, 0))
		return verify(uid, gid)
	case "verify with capabilities":
		must(prctlAll(unix.PR_SET_NO_NEW_PRIVS, 1))
		must(prctlAll(unix.PR_SET_SECUREBITS, noSetuidFixup))
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, uid))
		return verify(uid, gid)
	case "verify with exec":
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, uid))
		return verify(uid, gid)
	}
	return fmt.Errorf("unknown case %q", name)
}

// withoutProc calls f while / is a directory without /proc.
func withoutProc(f func() error) error {
	root, err := os.Open("/")
	must(err)
	must(syscall.Chroot("/usr"))
	result := f()
	must(root.Chdir())
	must(syscall.Chroot("."))
	return result
}

// startThreads starts n threads: the first spins, some start and end other threads,
// and the rest wait in a system call.
func startThreads(n int) {
	for i := range n {
		started := make(chan bool)
		go func() {
			runtime.LockOSThread()
			started <- true
			switch {
			case i == 0:
				//lint:ignore SA5002 only a signal may interrupt this thread
				for {
				}
			case i%4 == 1:
				for {
					done := make(chan bool)
					go func() {
						runtime.LockOSThread() // the thread ends with the goroutine
						close(done)
					}()
					<-done
					time.Sleep(time.Millisecond)
				}
			default:
				var pipe [2]int
				must(syscall.Pipe(pipe[:]))
				syscall.Read(pipe[0], make([]byte, 1))
			}
		}()
		<-started
	}
}

// report prints one line for each different state of threads.
func report() {
	tasks, err := os.ReadDir("/proc/self/task")
	must(err)
	fmt.Println("many threads:", len(tasks) > 15)
	var states []string
	for _, t := range tasks {
		text, err := os.ReadFile("/proc/self/task/" + t.Name() + "/status")
		if err != nil {
			continue
		}
		state := ""
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			switch name {
			case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs":
				state += " " + name + "=" + strings.Join(strings.Fields(value), ",")
			}
		}
		if !slices.Contains(states, state) {
			states = append(states, state)
			fmt.Println("threads:" + state)
		}
	}
	_, err = os.ReadFile("/etc/shadow")
	fmt.Println("reads shadow:", err == nil)
	out, err := exec.Command("/usr/bin/id", "-u").Output()
	fmt.Println("child:", strings.TrimSpace(string(out)), err)
}

// Securebits (capabilities(7)): setuid leaves the capabilities, and a change from
// user 0 to another keeps the permitted set.
const (
	noSetuidFixup = 1 << 2
	keepCaps      = 1 << 4
)

// prctlAll calls prctl(2) in all threads.
func prctlAll(op, arg uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, op, arg, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func must(err error) {
	if err != nil {
		fmt.Println("setup:", err)
		os.Exit(1)
	}
}
