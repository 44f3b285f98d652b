package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// backlog is how many connections may wait for accept; the kernel cuts it to
// net.core.somaxconn.
const backlog = 4096

// resolvePatience bounds the look-up of a host name.
const resolvePatience = 5 * time.Second

// target is one address to bind.
type target struct {
	netip.AddrPort
	given    string // as the operator wrote it
	wildcard bool   // no host was given: IPv6 may be missing
	optional bool   // one of several addresses of a name
	only6    bool   // IPv4 on this port belongs to another socket
}

// Bind binds and listens on addresses of the form host:port, [v6]:port or
// :port. "[::]:25" and ":25" take IPv4 as well, unless the list has an IPv4
// address on the same port. Of a name with several addresses all are bound
// that this machine has. An error says what to do about it; then no socket is
// left open.
func Bind(addrs []string) ([]Socket, error) { return Rebind(nil, addrs) }

// Rebind is Bind for one who listens already: a socket of old that is among
// the addresses stays as it is, and is returned with the new ones. An error
// changes nothing. The sockets of old that are not returned are the caller's
// to close.
func Rebind(old []Socket, addrs []string) ([]Socket, error) {
	targets, err := resolveAll(addrs)
	if err != nil {
		return nil, err
	}
	var sockets, fresh []Socket
	var skipped error
	for _, t := range targets {
		if s, ok := find(old, t); ok && !slices.Contains(sockets, s) {
			sockets = append(sockets, s)
			continue
		}
		s, err := bind(t)
		if err != nil {
			err = fmt.Errorf("listen on %s: %w%s", t.given, err, remedy(err, t, old))
			if t.optional && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)) {
				skipped = err
				continue
			}
			closeAll(fresh)
			return nil, err
		}
		fresh = append(fresh, s)
		sockets = append(sockets, s)
	}
	if len(sockets) == 0 {
		return nil, errors.Join(skipped, errors.New("there is no address to listen on"))
	}
	return sockets, nil
}

// find returns the socket that was bound for the same as t.
func find(old []Socket, t target) (Socket, bool) {
	i := slices.IndexFunc(old, func(s Socket) bool {
		return s.asked.AddrPort == t.AddrPort && s.asked.only6 == t.only6
	})
	if i < 0 {
		return Socket{}, false
	}
	return old[i], true
}

// resolveAll turns a list of host:port into addresses.
func resolveAll(addrs []string) ([]target, error) {
	var targets []target
	for _, a := range addrs {
		resolved, err := resolve(a)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", a, err)
		}
		targets = append(targets, resolved...)
	}
	for i := range targets {
		targets[i].only6 = targets[i].Addr() == netip.IPv6Unspecified() && slices.ContainsFunc(targets, func(o target) bool {
			return o.Addr().Is4() && o.Port() == targets[i].Port() && o.Port() != 0
		})
	}
	return targets, nil
}

// resolve turns one host:port into addresses.
func resolve(given string) ([]target, error) {
	host, service, err := net.SplitHostPort(given)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is no port", service)
	}
	if host == "" {
		return []target{{AddrPort: netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), given: given, wildcard: true}}, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []target{{AddrPort: netip.AddrPortFrom(addr.Unmap(), uint16(port)), given: given}}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolvePatience)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("%w: give an address instead of a name, or add the name to /etc/hosts", err)
	}
	var targets []target
	for _, ip := range ips {
		t := target{AddrPort: netip.AddrPortFrom(ip.Unmap(), uint16(port)), given: given, optional: len(ips) > 1}
		if !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	return targets, nil
}

// bind makes one socket.
func bind(t target) (Socket, error) {
	asked := t
	fd, sa, err := open(t)
	if t.wildcard && errors.Is(err, unix.EAFNOSUPPORT) {
		t.AddrPort = netip.AddrPortFrom(netip.IPv4Unspecified(), t.Port())
		fd, sa, err = open(t)
	}
	if err != nil {
		return Socket{}, err
	}
	s := Socket{FD: fd, asked: asked}
	err = func() error {
		// Otherwise a restart would have to wait for connections in TIME_WAIT.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("set SO_REUSEADDR: %w", err)
		}
		if err := unix.Bind(fd, sa); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		if err := unix.Listen(fd, backlog); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		if s.Addr, err = describe(fd); err != nil {
			return err
		}
		return prepare(fd, s.Addr)
	}()
	if err != nil {
		unix.Close(fd)
		return Socket{}, err
	}
	return s, nil
}

// open makes the descriptor and the kernel's form of the address.
func open(t target) (int, unix.Sockaddr, error) {
	const kind = unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	if t.Addr().Is4() {
		fd, err := unix.Socket(unix.AF_INET, kind, 0)
		if err != nil {
			return -1, nil, fmt.Errorf("socket: %w", err)
		}
		return fd, &unix.SockaddrInet4{Port: int(t.Port()), Addr: t.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(t.Port()), Addr: t.Addr().As16()}
	if zone := t.Addr().Zone(); zone != "" {
		link, err := net.InterfaceByName(zone)
		if err != nil {
			return -1, nil, fmt.Errorf("interface %s: %w", zone, err)
		}
		sa.ZoneId = uint32(link.Index)
	}
	fd, err := unix.Socket(unix.AF_INET6, kind, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("socket: %w", err)
	}
	only6 := 0
	if t.only6 || !t.Addr().IsUnspecified() {
		only6 = 1
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only6); err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("set IPV6_V6ONLY: %w", err)
	}
	return fd, sa, nil
}

// remedy says what an operator can do about an error, or nothing.
func remedy(err error, t target, old []Socket) string {
	denied := errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
	switch {
	// Only a service of type notify has it, ours is one.
	case denied && os.Getenv("NOTIFY_SOCKET") != "":
		return ": no socket came from systemd: systemctl start goguerrillad.socket"
	case denied && t.Port() < 1024:
		return ": ports under 1024 need root, CAP_NET_BIND_SERVICE, or a socket from systemd"
	case errors.Is(err, unix.EADDRINUSE) && slices.ContainsFunc(old, func(s Socket) bool { return s.asked.Port() == t.Port() }):
		return ": this daemon has the port on another address, which only a restart gives up"
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf(": another program has the port, ss -ltnp sport = :%d shows which", t.Port())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return ": this machine does not have this address, ip address shows those it has"
	case errors.Is(err, unix.EAFNOSUPPORT):
		return ": this machine, or the systemd unit, does not let us use this kind of address"
	}
	return ""
}
