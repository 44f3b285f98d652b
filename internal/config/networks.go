package config

import "net/netip"

// Networks is a set of networks and, optionally, the clients on unix sockets.
type Networks struct {
	nets []netip.Prefix
	unix bool
}

// parseNetworks parses a comma list of networks, addresses, and the word unix,
// which stands for peers on unix sockets.
func parseNetworks(v string) (*Networks, error) {
	const want = "want networks such as 192.0.2.0/24 or 2001:db8::/32, or unix"
	list, err := elements(v, want)
	if err != nil {
		return nil, err
	}
	n := &Networks{}
	for _, e := range list {
		if e == "unix" {
			n.unix = true
			continue
		}
		net, err := netip.ParsePrefix(e)
		if err != nil {
			addr, err := netip.ParseAddr(e)
			if err != nil || addr.Zone() != "" {
				return nil, &fault{value: e, problem: "is not a network", want: want}
			}
			net = netip.PrefixFrom(addr, addr.BitLen())
		}
		if net.Addr().Is4In6() {
			return nil, &fault{value: e, problem: "is an IPv4-mapped IPv6 address", want: "want the IPv4 address"}
		}
		if net != net.Masked() {
			return nil, &fault{value: e, problem: "has host bits", want: "want " + net.Masked().String()}
		}
		n.nets = append(n.nets, net)
	}
	return n, nil
}

// loopback returns the networks of this machine.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Match reports whether a peer is in the set. The zero Addr is a peer on a unix
// socket. The nil set is empty.
func (n *Networks) Match(peer netip.Addr) bool {
	if n == nil {
		return false
	}
	if !peer.IsValid() {
		return n.unix
	}
	peer = peer.Unmap().WithZone("")
	for _, net := range n.nets {
		if net.Contains(peer) {
			return true
		}
	}
	return false
}

// everyAddress reports whether one of the networks contains all addresses.
func (n *Networks) everyAddress() bool {
	if n == nil {
		return false
	}
	for _, net := range n.nets {
		if net.Bits() == 0 {
			return true
		}
	}
	return false
}
