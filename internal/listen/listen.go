// Package listen gets the sockets that the server accepts on: from systemd by
// name, or bound by itself. What is served on them is not its business.
package listen

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A Socket listens. It is non-blocking and closed on exec. Its descriptor is
// bare, so that an event loop can have it to itself: inside an os.File or a
// net.Listener the Go runtime would poll it as well.
type Socket struct {
	FD     int
	Addr   net.Addr // *net.TCPAddr or *net.UnixAddr
	Passed bool     // came from systemd, which keeps a copy: closing ours loses no client

	asked target // what it was bound for; zero when passed
}

// Close closes the descriptor.
func (s Socket) Close() error {
	if err := unix.Close(s.FD); err != nil {
		return fmt.Errorf("close %s: %w", s.Addr, err)
	}
	return nil
}

// Listener returns a net.Listener on a duplicate of the descriptor, for what
// the Go runtime is to poll.
func (s Socket) Listener() (net.Listener, error) {
	fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", s.Addr, err)
	}
	f := os.NewFile(uintptr(fd), s.Addr.String())
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", s.Addr, err)
	}
	return l, nil
}

// describe finds out what a listening descriptor is bound to.
func describe(fd int) (net.Addr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("getsockname: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return tcpAddr(netip.AddrFrom4(sa.Addr), sa.Port), nil
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			if link, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				addr = addr.WithZone(link.Name)
			}
		}
		return tcpAddr(addr, sa.Port), nil
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Net: "unix", Name: sa.Name}, nil
	}
	return nil, fmt.Errorf("neither TCP nor a unix socket")
}

func tcpAddr(addr netip.Addr, port int) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(port)))
}

// prepare sets what both kinds of sockets have in common. Accepted connections
// inherit TCP_NODELAY: replies are whole when they are written.
func prepare(fd int, addr net.Addr) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("set non-blocking: %w", err)
	}
	if _, ok := addr.(*net.TCPAddr); ok {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("set TCP_NODELAY: %w", err)
		}
	}
	return nil
}

func closeAll(sockets []Socket) {
	for _, s := range sockets {
		unix.Close(s.FD)
	}
}
