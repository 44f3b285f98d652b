package authhttp

import (
	"net"
	"net/netip"
)

// reachable returns the address of own, this daemon's SMTP addresses, that nginx
// can connect to. local is the address at which nginx connected to auth_http.
// The result is not valid if nginx can reach none of own.
func reachable(own []net.Addr, local net.Addr) netip.AddrPort {
	here := tcpAddr(local).Addr()
	if !here.IsValid() { // a unix socket: nginx runs on this machine
		here = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	var first netip.AddrPort
	for _, addr := range own {
		listen := tcpAddr(addr)
		switch {
		case !listen.IsValid() || listen.Addr().Zone() != "": // nginx supports neither unix sockets nor zones here
		case listen.Addr() == here:
			return listen
		case listen.Addr().IsUnspecified() && (here.Is4() || listen.Addr().Is6()):
			// The IPv6 wildcard also accepts IPv4, unless the list has an IPv4
			// socket with this port.
			first = netip.AddrPortFrom(here, listen.Port())
		case listen.Addr().IsUnspecified() && here.IsLoopback() && !first.IsValid():
			first = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), listen.Port())
		case !listen.Addr().IsUnspecified() && !first.IsValid():
			first = listen
		}
	}
	return first
}

// tcpAddr returns the address of a TCP socket. It is not valid for any other kind
// of socket.
func tcpAddr(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	a := tcp.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// isOwn reports whether backend is an address of this daemon, which listens on
// own.
func isOwn(backend netip.AddrPort, own []net.Addr) bool {
	for _, addr := range own {
		listen := tcpAddr(addr)
		if listen.Port() == backend.Port() && (listen.Addr() == backend.Addr() || listen.Addr().IsUnspecified() && isLocal(backend.Addr())) {
			return true
		}
	}
	return false
}

// isLocal reports whether addr is an address of this machine.
func isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil && p.Addr().Unmap() == addr {
			return true
		}
	}
	return false
}
