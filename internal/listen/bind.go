package listen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// backlog is the maximum number of connections that wait for accept. The kernel
// lowers it to net.core.somaxconn.
const backlog = 4096

// resolveTimeout bounds the lookup of a host name.
const resolveTimeout = 5 * time.Second

// A target is one address to bind.
type target struct {
	netip.AddrPort
	configured string // its host:port in the configuration
	anyHost    bool   // host:port has no host: IPv4 alone is enough
	optional   bool   // one of several addresses of a name
	v6only     bool   // another socket has IPv4 on this port
	tls        bool   // of Socket.TLS
}

// implicitTLS is the prefix of an address whose socket has TLS.
const implicitTLS = "smtps://"

// Bind binds and listens on addresses of the form host:port, [v6]:port or :port, or one
// of these after smtps://, which sets Socket.TLS.
//
// "[::]:25" and ":25" accept IPv4 as well, unless addrs has an IPv4 address with
// the same port. If a name has several addresses, Bind skips those that this machine
// does not have. After an error, which contains a remedy, no socket is open.
func Bind(addrs []string) ([]Socket, error) { return Rebind(nil, addrs) }

// Rebind is Bind for a reload. It returns the sockets of old whose addresses are
// in addrs, unchanged, and binds the rest; the caller closes the other sockets of
// old. After an error all of old are open, and no other socket is.
func Rebind(old []Socket, addrs []string) ([]Socket, error) {
	targets, err := resolveAll(addrs)
	if err != nil {
		return nil, err
	}
	var sockets, opened []Socket
	var skipped error
	for _, t := range targets {
		if s, ok := find(old, t); ok && !slices.Contains(sockets, s) {
			sockets = append(sockets, s)
			continue
		}
		s, err := bind(t)
		if err != nil {
			err = fmt.Errorf("listen on %s: %w%s", t.configured, err, remedy(err, t, old))
			if t.optional && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)) {
				skipped = err
				continue
			}
			closeAll(opened)
			return nil, err
		}
		opened = append(opened, s)
		sockets = append(sockets, s)
	}
	if len(sockets) == 0 {
		return nil, cmp.Or(skipped, errors.New("no address to listen on"))
	}
	return sockets, nil
}

// find returns the socket of old that was bound for the address of t.
func find(old []Socket, t target) (Socket, bool) {
	i := slices.IndexFunc(old, func(s Socket) bool {
		return s.requested.AddrPort == t.AddrPort && s.requested.v6only == t.v6only && s.TLS == t.tls
	})
	if i < 0 {
		return Socket{}, false
	}
	return old[i], true
}

// resolveAll returns the addresses of a list of host:port.
func resolveAll(addrs []string) ([]target, error) {
	var targets []target
	for _, a := range addrs {
		address, tls := strings.CutPrefix(a, implicitTLS)
		resolved, err := resolve(address)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", a, err)
		}
		for i := range resolved {
			resolved[i].tls = tls
		}
		targets = append(targets, resolved...)
	}
	for i := range targets {
		targets[i].v6only = targets[i].Addr() == netip.IPv6Unspecified() && slices.ContainsFunc(targets, func(o target) bool {
			return o.Addr().Is4() && o.Port() == targets[i].Port() && o.Port() != 0
		})
	}
	return targets, nil
}

// resolve returns the addresses of one host:port.
func resolve(configured string) ([]target, error) {
	host, service, err := net.SplitHostPort(configured)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q is not a number from 0 to 65535", service)
	}
	if host == "" {
		return []target{{AddrPort: netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), configured: configured, anyHost: true}}, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []target{{AddrPort: netip.AddrPortFrom(addr.Unmap(), uint16(port)), configured: configured}}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("%w: use an IP address, or add the name to /etc/hosts", err)
	}
	var targets []target
	for _, ip := range ips {
		t := target{AddrPort: netip.AddrPortFrom(ip.Unmap(), uint16(port)), configured: configured, optional: len(ips) > 1}
		if !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	return targets, nil
}

// bind opens, binds and listens on one socket.
func bind(t target) (Socket, error) {
	requested := t
	fd, sa, err := open(t)
	if t.anyHost && errors.Is(err, unix.EAFNOSUPPORT) {
		t.AddrPort = netip.AddrPortFrom(netip.IPv4Unspecified(), t.Port())
		fd, sa, err = open(t)
	}
	if err != nil {
		return Socket{}, err
	}
	s := Socket{FD: fd, TLS: requested.tls, requested: requested}
	err = func() error {
		// Without it, a restart fails while connections are in TIME_WAIT.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("set SO_REUSEADDR: %w", err)
		}
		if err := unix.Bind(fd, sa); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		if err := unix.Listen(fd, backlog); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		if s.Addr, err = localAddr(fd); err != nil {
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

// open opens a socket, and returns it with the address in the kernel's form.
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
	v6only := 0
	if t.v6only || !t.Addr().IsUnspecified() {
		v6only = 1
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only); err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("set IPV6_V6ONLY: %w", err)
	}
	return fd, sa, nil
}

// remedy returns the remedy for an error of bind, to follow its text, or "".
func remedy(err error, t target, old []Socket) string {
	denied := errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
	switch {
	// goguerrillad.service has Type=notify, so systemd sets NOTIFY_SOCKET.
	case denied && os.Getenv("NOTIFY_SOCKET") != "":
		return ": no socket from systemd: run systemctl start goguerrillad.socket"
	case denied && t.Port() < 1024:
		return ": ports below 1024 need root, CAP_NET_BIND_SERVICE or a socket from systemd"
	case errors.Is(err, unix.EADDRINUSE) && slices.ContainsFunc(old, func(s Socket) bool { return s.requested.Port() == t.Port() }):
		return ": this daemon uses the port on another address: restart it to change the address"
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf(": another program uses the port: ss -ltnp sport = :%d shows it", t.Port())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return ": this machine does not have this address: ip address shows its addresses"
	case errors.Is(err, unix.EAFNOSUPPORT):
		return ": the kernel or RestrictAddressFamilies= of the systemd unit does not allow this kind of address"
	}
	return ""
}
