package listen

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Passed returns the sockets that the service manager passed (sd_listen_fds(3))
// by their names, none when it passed nothing. A descriptor of any other name
// than these is a mistake in a unit; to leave it unserved would lose mail
// without a word. It must be called once, before anything else in the process
// opens descriptors that could be taken for systemd's.
func Passed(names ...string) (map[string][]Socket, error) {
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	passed := map[string][]Socket{}
	for i, f := range files {
		s, err := adopt(f, names)
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

// adopt makes a Socket of its own from a passed descriptor, which stays open.
func adopt(f *os.File, names []string) (Socket, error) {
	if !slices.Contains(names, f.Name()) {
		given := fmt.Sprintf("is named %q", f.Name())
		// So the activation package calls what has no name.
		if strings.HasPrefix(f.Name(), "LISTEN_FD_") {
			given = "has no name"
		}
		return Socket{}, fmt.Errorf("it %s: set FileDescriptorName= in its socket unit to %s (systemd-socket-activate: --fdname=)",
			given, strings.Join(names, " or "))
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return Socket{}, err
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(theirs uintptr) {
		fd, dupErr = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0)
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
		return Socket{}, fmt.Errorf("it does not listen for streams: its socket unit needs ListenStream= and Accept=no")
	}
	if s.Addr, err = describe(fd); err == nil {
		err = prepare(fd, s.Addr)
	}
	if err != nil {
		unix.Close(fd)
	}
	return s, err
}
