// Package listen returns the listening sockets of the daemon: those that systemd
// passes, by name, or those that it binds. The protocol on them does not matter.
package listen

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A Socket is a listening stream socket, non-blocking and closed on exec. It has a
// plain descriptor for an event loop: the Go runtime would poll the descriptor of
// an os.File or a net.Listener as well.
type Socket struct {
	FD     int
	Addr   net.Addr // *net.TCPAddr or *net.UnixAddr
	Passed bool     // by systemd, which keeps the socket open: Close loses no client
	TLS    bool     // a TLS handshake precedes the protocol

	requested target // of Rebind; zero if Passed
}

// Close closes the descriptor.
func (s Socket) Close() error {
	if err := unix.Close(s.FD); err != nil {
		return fmt.Errorf("close %s: %w", s.Addr, err)
	}
	return nil
}

// Listener returns a net.Listener on a duplicate of the descriptor, which the Go
// runtime polls.
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

// localAddr returns the address that a socket is bound to (getsockname(2)).
func localAddr(fd int) (net.Addr, error) {
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
	return nil, fmt.Errorf("not a TCP or unix socket")
}

func tcpAddr(addr netip.Addr, port int) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(port)))
}

// prepare makes a socket non-blocking and sets TCP_NODELAY, which accepted
// connections inherit: the server sends replies in one write.
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
