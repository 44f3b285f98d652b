package listen

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Passed returns the sockets that systemd has passed (sd_listen_fds(3)) by name.
// A descriptor with another name is an error, since its clients would wait without
// a reply. Call Passed once, before the process opens descriptors that could have
// the numbers of systemd's.
func Passed(names ...string) (map[string][]Socket, error) {
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	passed := map[string][]Socket{}
	for i, f := range files {
		s, err := newSocket(f, names)
		if err != nil {
			for _, sockets := range passed {
				closeAll(sockets)
			}
			return nil, fmt.Errorf("socket %d of %d from systemd: %w", i+1, len(files), err)
		}
		passed[f.Name()] = append(passed[f.Name()], s)
	}
	return passed, nil
}

// newSocket returns a Socket with a duplicate of a passed descriptor.
func newSocket(f *os.File, names []string) (Socket, error) {
	if !slices.Contains(names, f.Name()) {
		problem := fmt.Sprintf("unknown name %q", f.Name())
		// The activation package gives this name to a descriptor without one.
		if strings.HasPrefix(f.Name(), "LISTEN_FD_") {
			problem = "no name"
		}
		return Socket{}, fmt.Errorf("%s: set FileDescriptorName= in its socket unit to %s (systemd-socket-activate: --fdname=)",
			problem, strings.Join(names, " or "))
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return Socket{}, err
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(passed uintptr) {
		fd, dupErr = unix.FcntlInt(passed, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return Socket{}, err
	}
	if dupErr != nil {
		return Socket{}, fmt.Errorf("duplicate: %w", dupErr)
	}
	s := Socket{FD: fd, Passed: true}
	kind, kindErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	listening, listenErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if kindErr != nil || listenErr != nil || kind != unix.SOCK_STREAM || listening != 1 {
		unix.Close(fd)
		return Socket{}, fmt.Errorf("not a listening stream socket: its socket unit needs ListenStream= and Accept=no")
	}
	if s.Addr, err = localAddr(fd); err == nil {
		err = prepare(fd, s.Addr)
	}
	if err != nil {
		unix.Close(fd)
	}
	return s, err
}
