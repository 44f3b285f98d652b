// Package privdrop drops the privileges of all threads of a process permanently,
// and verifies it.
package privdrop

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errCgo is the error of a binary with cgo: C code may have started threads that
// Go does not know, and whose privileges it cannot drop.
var errCgo = errors.New("the threads of a program built with cgo may be unknown to Go: build with CGO_ENABLED=0, as make build does")

// Drop switches all threads to a user and a group, both ids above 0, and drops
// all supplementary groups and capabilities. It verifies that no thread can regain
// them. After an error the process must exit, since some privileges may be left.
func Drop(uid, gid int) error {
	if uid <= 0 || gid <= 0 {
		return fmt.Errorf("switch to user %d and group %d: the ids must be above 0", uid, gid)
	}
	if err := noNewPrivileges(); err != nil {
		return err
	}
	clearBoundingSet()
	if err := Become(uid, gid, nil); err != nil {
		return err
	}
	// setresuid does not clear the inheritable set, and with some securebits no set
	// (capabilities(7)).
	if err := clearCapabilities(); err != nil {
		return err
	}
	return verify(uid, gid)
}

// Become switches all threads of root to a user with supplementary groups, for a process
// that only reads, such as a check. Unlike Drop it verifies nothing.
func Become(uid, gid int, groups []int) error {
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set the supplementary groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("switch to group %d: %w", gid, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("switch to user %d: %w", uid, err)
	}
	return nil
}

// DropCapabilities drops the capabilities of a process that is not root, such as
// CAP_NET_BIND_SERVICE from systemd. Without capabilities it returns an error only
// if it cannot read them.
func DropCapabilities() error {
	s, err := readStatus("self")
	if err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	noNewErr := noNewPrivileges()
	if s.capabilities() == "" {
		return nil
	}
	if noNewErr != nil {
		return noNewErr
	}
	if err := clearCapabilities(); err != nil {
		return err
	}
	return eachThread(status.checkUnprivileged)
}

// RefuseRoot returns an error if the real, effective or saved user is root.
func RefuseRoot() error {
	real, effective, saved := unix.Getresuid()
	if real != 0 && effective != 0 && saved != 0 {
		return nil
	}
	return errors.New("started as root: set SGID and GUID to the group and user to switch to, or User= in the systemd unit")
}

// allThreads makes a system call in every thread, or in none if it fails in the
// first.
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

// noNewPrivileges sets no_new_privs: an exec of set-user-ID programs and file
// capabilities then has no effect.
func noNewPrivileges() error {
	// The unused arguments must be 0 (prctl(2)).
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		return errCgo
	} else if errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	return nil
}

// clearCapabilities clears the effective, permitted and inheritable sets; the
// kernel then clears the ambient set.
func clearCapabilities() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	err := allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none[0])), 0)
	if err != nil {
		return fmt.Errorf("drop all capabilities: %w", err)
	}
	return nil
}

// clearBoundingSet clears the limit of the capabilities that an exec can add. Root
// in a container may lack the right to do so, which is not an error, since
// no_new_privs has the same effect.
func clearBoundingSet() {
	for c := uintptr(0); c < 64; c++ {
		// 1 = in the set, 0 = not in the set, an error = no such capability.
		if in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			return
		} else if in == 1 && allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0) != nil {
			return
		}
	}
}
