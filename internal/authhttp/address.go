package authhttp

import (
	"net"
	"net/netip"
)

// reachable returns the address under which nginx reaches this daemon's SMTP
// server: local is the one at which it has reached us. It is not valid when
// there is none.
func reachable(own []net.Addr, local net.Addr) netip.AddrPort {
	here := tcpAddr(local).Addr()
	if !here.IsValid() { // over a unix socket: from this machine
		here = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	var first netip.AddrPort
	for _, addr := range own {
		smtp := tcpAddr(addr)
		switch {
		case !smtp.IsValid() || smtp.Addr().Zone() != "": // nginx takes neither
		case smtp.Addr() == here:
			return smtp
		case smtp.Addr().IsUnspecified() && (here.Is4() || smtp.Addr().Is6()):
			// The wildcard of IPv6 takes IPv4 too, unless a socket of its own
			// does, which then stands in the list as well.
			first = netip.AddrPortFrom(here, smtp.Port())
		case smtp.Addr().IsUnspecified() && here.IsLoopback() && !first.IsValid():
			first = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), smtp.Port())
		case !smtp.Addr().IsUnspecified() && !first.IsValid():
			first = smtp
		}
	}
	return first
}

// tcpAddr is not valid for any other kind of address.
func tcpAddr(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	a := tcp.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// isOwn reports whether a server is this daemon.
func isOwn(server netip.AddrPort, own []net.Addr) bool {
	for _, addr := range own {
		smtp := tcpAddr(addr)
		if smtp.Port() == server.Port() && (smtp.Addr() == server.Addr() || smtp.Addr().IsUnspecified() && isHere(server.Addr())) {
			return true
		}
	}
	return false
}

// isHere reports whether an address is one of this machine's.
func isHere(addr netip.Addr) bool {
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
