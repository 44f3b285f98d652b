// Package privdrop turns a process that was started as root into one that has
// no rights and no way back to them, in every thread, and proves it.
package privdrop

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errCgo comes from a binary in which C code may have started threads that Go
// does not know of; what is dropped by Go would not be dropped there.
var errCgo = errors.New("this program was built with cgo, which can have threads out of reach: build it with CGO_ENABLED=0, as make build does")

// Drop becomes the user and group with these ids, both above 0. Afterwards no
// thread has a supplementary group, a capability, or the means to get one
// back, which has been checked. After an error the process must end: it may
// have kept a part of its rights.
//
// It is meant for the moment after the sockets are bound, before anything of a
// client is read.
func Drop(uid, gid int) error {
	if uid <= 0 || gid <= 0 {
		return fmt.Errorf("become user %d and group %d: neither may be root", uid, gid)
	}
	if err := noNewPrivileges(); err != nil {
		return err
	}
	emptyBoundingSet()
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("leave the supplementary groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("become group %d: %w", gid, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("become user %d: %w", uid, err)
	}
	// Leaving root has cleared most of them, but not the inheritable ones, and
	// none at all when the program was started with unusual securebits(7).
	if err := clearCapabilities(); err != nil {
		return err
	}
	return Prove(uid, gid)
}

// Forfeit gives up the capabilities of a process that is not root, such as the
// one to bind port 25 that systemd can grant. A process without any loses
// nothing, and cannot fail.
func Forfeit() error {
	s, err := readStatus("self")
	if err != nil {
		return fmt.Errorf("look for capabilities: %w", err)
	}
	blocked := noNewPrivileges()
	if s.capabilities() == "" {
		return nil
	}
	if blocked != nil {
		return blocked
	}
	if err := clearCapabilities(); err != nil {
		return err
	}
	return eachThread(func(s status) error { return s.powerless() })
}

// RefuseRoot returns an error when the process is root in any way.
func RefuseRoot() error {
	real, effective, saved := unix.Getresuid()
	if real != 0 && effective != 0 && saved != 0 {
		return nil
	}
	return errors.New("started as root: SGID and GUID must name the group and user to become (under systemd, set User= instead)")
}

// allThreads runs a system call in every thread. If the first thread cannot,
// none does.
func allThreads(trap, a1, a2, a3 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(trap, a1, a2, a3)
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return errCgo
	}
	return errno
}

// noNewPrivileges makes set-user-ID programs and file capabilities powerless.
func noNewPrivileges() error {
	// The unused arguments must be 0, so the call with six is needed.
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		return errCgo
	} else if errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	return nil
}

// clearCapabilities empties the effective, permitted and inheritable sets, and
// with them the ambient one.
func clearCapabilities() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	err := allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none[0])), 0)
	if err != nil {
		return fmt.Errorf("give up all capabilities: %w", err)
	}
	return nil
}

// emptyBoundingSet takes away what an exec could bring. no_new_privs does so
// already; therefore a root that may not change the set, as in a container, is
// no error.
func emptyBoundingSet() {
	for c := uintptr(0); c < 64; c++ {
		// 1 = in the set, 0 = not in it, an error = no such capability.
		if in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			return
		} else if in == 1 && allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0) != nil {
			return
		}
	}
}
