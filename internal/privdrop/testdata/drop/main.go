// Drop is the victim of the package's tests: it does to itself what its
// argument says while its threads are busy, and prints what came of it. It is
// a program of its own because it has to be built without cgo.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"goguerrillad/internal/privdrop"

	"golang.org/x/sys/unix"
)

const uid, gid = 65533, 65532

func main() {
	crowd(20)
	fmt.Println("result:", attempt(os.Args[1]))
	report()
}

// filter has the kernel refuse the system call that the second argument names in
// all threads ("setresuid refused"), or do nothing and report success ("setresuid
// ignored"). Without a second argument there is none.
func filter() {
	if len(os.Args) < 3 {
		return
	}
	name, how, _ := strings.Cut(os.Args[2], " ")
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

func attempt(what string) error {
	switch what {
	case "drop":
		filter()
		return privdrop.Drop(uid, gid)
	case "drop with kept capabilities":
		// What a careless parent could have left behind, in all threads.
		must(all(unix.PR_SET_SECUREBITS, 1<<2|1<<4)) // SECBIT_NO_SETUID_FIXUP, SECBIT_KEEP_CAPS
		filter()
		return privdrop.Drop(uid, gid)
	case "drop to 1":
		return privdrop.Drop(1, 1)
	case "drop to root":
		return privdrop.Drop(0, gid)
	case "drop to root's group":
		return privdrop.Drop(uid, 0)
	case "refuse root":
		return privdrop.RefuseRoot()
	case "refuse root after drop":
		must(privdrop.Drop(uid, gid))
		return privdrop.RefuseRoot()
	case "refuse saved root":
		must(syscall.Setresuid(uid, uid, 0))
		return privdrop.RefuseRoot()
	case "forfeit":
		must(all(unix.PR_SET_SECUREBITS, 1<<2))
		must(syscall.Setgroups([]int{gid + 1}))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, uid))
		filter()
		return privdrop.Forfeit()
	case "forfeit without proc":
		return withoutProc(privdrop.Forfeit)
	case "prove without proc":
		return withoutProc(func() error { return privdrop.Prove(uid, gid) })
	case "prove":
		must(privdrop.Drop(uid, gid))
		filter()
		return privdrop.Prove(uid, gid)
	case "prove nothing":
		return privdrop.Prove(uid, gid)
	case "prove one thread alone":
		// The mistake that all this is about: the raw call changes only the
		// thread that makes it.
		must(all6(unix.PR_SET_NO_NEW_PRIVS, 1))
		runtime.LockOSThread()
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(gid, gid, gid))
		if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			return errno
		}
		return privdrop.Prove(uid, gid)
	case "prove with groups":
		must(all6(unix.PR_SET_NO_NEW_PRIVS, 1))
		must(syscall.Setgroups([]int{0, 4}))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, uid))
		return privdrop.Prove(uid, gid)
	case "prove with saved root":
		must(all6(unix.PR_SET_NO_NEW_PRIVS, 1))
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, 0))
		return privdrop.Prove(uid, gid)
	case "prove with capabilities":
		must(all6(unix.PR_SET_NO_NEW_PRIVS, 1))
		must(all(unix.PR_SET_SECUREBITS, 1<<2))
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, uid))
		return privdrop.Prove(uid, gid)
	case "prove with exec":
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(gid, gid, gid))
		must(syscall.Setresuid(uid, uid, uid))
		return privdrop.Prove(uid, gid)
	}
	return fmt.Errorf("unknown attempt")
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

// crowd starts threads of all kinds: one that spins, some asleep in the
// kernel, and some that come and go.
func crowd(n int) {
	for i := range n {
		started := make(chan bool)
		go func() {
			runtime.LockOSThread()
			started <- true
			switch {
			case i == 0:
				for { // left by signals alone
				}
			case i%4 == 1:
				for {
					done := make(chan bool)
					go func() {
						runtime.LockOSThread() // ends its thread with itself
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

// report prints, in one line each, the different states that threads are in.
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

func all(op, arg uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, op, arg, 0); errno != 0 {
		return errno
	}
	return nil
}

func all6(op, arg uintptr) error {
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
