package smtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A ProxyHeader is what a proxy reports of its client before all other bytes, by
// the PROXY protocol, version 1 or 2 (HAProxy's doc/proxy-protocol.txt).
type ProxyHeader struct {
	// Local: the proxy connects on its own behalf, to check the server.
	Local  bool
	Client netip.AddrPort // not valid if the proxy does not know it
	TLS    string         // version and cipher suite between client and proxy, "" in clear or if not reported
}

// Bounds of a header, in bytes.
const (
	maxProxyV1 = 107 // with its CR LF
	proxyV2Len = 16  // before the addresses
	maxTLSName = 64  // of a version or a cipher suite
	// MaxProxyHeader is the length of the longest header.
	MaxProxyHeader = proxyV2Len + 1<<16 - 1
)

// How the headers of both versions begin.
const (
	proxyV1Mark = "PROXY "
	proxyV2Mark = "\r\n\r\n\x00\r\nQUIT\n"
)

// LocalProxyHeader is what a connection begins with that checks a server on its
// own behalf.
const LocalProxyHeader = proxyV2Mark + "\x20\x00\x00\x00"

var errNoProxyHeader = errors.New("no PROXY header")

// ParseProxyHeader reads the header with which in begins, and returns its length
// in bytes. A length of 0 without an error means that more of it must come.
func ParseProxyHeader(in []byte) (h ProxyHeader, length int, err error) {
	switch {
	case startsLike(in, proxyV2Mark):
		length = MaxProxyHeader
		if len(in) >= proxyV2Len {
			length = proxyV2Len + int(binary.BigEndian.Uint16(in[proxyV2Len-2:]))
		}
		switch err = checkV2(in[min(len(in), len(proxyV2Mark)):]); {
		case err != nil: // at once: the block may never come
		case len(in) < length:
			return ProxyHeader{}, 0, nil
		default:
			err = h.parseV2(in[len(proxyV2Mark)], in[len(proxyV2Mark)+1], in[proxyV2Len:length])
		}
	case startsLike(in, proxyV1Mark):
		line, _, found := bytes.Cut(in[:min(len(in), maxProxyV1)], []byte("\n"))
		switch {
		case found:
			length = len(line) + 1
			err = h.parseV1(string(line))
		case len(in) < maxProxyV1:
			return ProxyHeader{}, 0, nil
		default:
			err = errors.New("no end of line")
		}
	default:
		return ProxyHeader{}, 0, errNoProxyHeader
	}
	if err != nil {
		return ProxyHeader{}, 0, fmt.Errorf("PROXY header: %w", err)
	}
	return h, length, nil
}

// ClaimsProxyHeader reports whether in begins as a PROXY header does, or whether
// more of it must come to decide that.
func ClaimsProxyHeader(in []byte) (claims, more bool) {
	for _, mark := range []string{proxyV1Mark, proxyV2Mark} {
		if startsLike(in, mark) {
			return len(in) >= len(mark), len(in) < len(mark)
		}
	}
	return false, false
}

// startsLike reports whether in begins with what it has of mark.
func startsLike(in []byte, mark string) bool {
	n := min(len(in), len(mark))
	return string(in[:n]) == mark[:n]
}

// parseV1 reads a line without its LF (section 2.1).
func (h *ProxyHeader) parseV1(line string) error {
	line, ok := strings.CutSuffix(line, "\r")
	if !ok {
		return errors.New("no CR before the LF")
	}
	words := strings.Split(line, " ")
	if words[1] == "UNKNOWN" {
		return nil // whatever comes after it
	}
	if len(words) != 6 {
		return fmt.Errorf("%d words", len(words))
	}
	source, err := parseV1Address(words[2], words[4])
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	// An nginx that received a PROXY header itself sends the client's family, but
	// its own address may be of the other family.
	if _, err := parseV1Address(words[3], words[5]); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if v4 := source.Addr().Is4(); words[1] != "TCP4" && words[1] != "TCP6" || v4 != (words[1] == "TCP4") {
		return fmt.Errorf("client %v and protocol %.10q", source.Addr(), words[1])
	}
	h.setClient(source)
	return nil
}

func parseV1Address(address, port string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("address %.50q", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, fmt.Errorf("port %.10q", port)
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

func (h *ProxyHeader) setClient(a netip.AddrPort) {
	h.Client = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Values of version 2 (section 2.2).
const (
	v2Local, v2Proxy = 0x20, 0x21 // version and command

	// Family and transport.
	v2Unspecified = 0x00
	v2TCP4        = 0x11
	v2TCP6        = 0x21
	v2UnixStream  = 0x31

	v2LastFamily    = 3
	v2LastTransport = 2
)

// checkV2 refuses what may not follow the mark, of which more may have to come:
// version and command, family and transport.
func checkV2(in []byte) error {
	if len(in) > 0 && in[0] != v2Local && in[0] != v2Proxy {
		return fmt.Errorf("version and command %#x", in[0])
	}
	if len(in) > 1 && in[0] == v2Proxy && (in[1]>>4 > v2LastFamily || in[1]&15 > v2LastTransport) {
		return fmt.Errorf("family and transport %#x", in[1])
	}
	return nil
}

// parseV2 reads what follows the mark, which checkV2 has passed, and the block of
// addresses and TLVs.
func (h *ProxyHeader) parseV2(command, family byte, block []byte) error {
	if command == v2Local { // family and block are ignored, whatever they are
		h.Local = true
		return nil
	}
	addresses := 0 // bytes
	switch family {
	case v2TCP4:
		addresses = 4 + 4 + 2 + 2
	case v2TCP6:
		addresses = 16 + 16 + 2 + 2
	case v2UnixStream:
		addresses = 108 + 108
	case v2Unspecified: // TLVs, or addresses of any kind
		if h.parseTLVs(block) != nil {
			h.TLS = ""
		}
		return nil
	default: // read as if unspecified
		return nil
	}
	if len(block) < addresses {
		return fmt.Errorf("%d bytes for family and transport %#x", len(block), family)
	}
	if family != v2UnixStream {
		size := (addresses - 4) / 2
		addr, _ := netip.AddrFromSlice(block[:size])
		h.setClient(netip.AddrPortFrom(addr, binary.BigEndian.Uint16(block[2*size:])))
	}
	return h.parseTLVs(block[addresses:])
}

// Types of TLVs, and of those within PP2_TYPE_SSL (section 2.2.6).
const (
	tlvSSL        = 0x20
	tlvSSLVersion = 0x21
	tlvSSLCipher  = 0x23

	sslClient = 0x01 // bit of its first byte: the client connected by TLS
)

// parseTLVs keeps the client's TLS.
func (h *ProxyHeader) parseTLVs(block []byte) error {
	return eachTLV(block, func(kind byte, value []byte) error {
		const verify = 1 + 4 // bytes before the TLVs within
		switch {
		case kind != tlvSSL:
			return nil
		case len(value) < verify:
			return errors.New("short PP2_TYPE_SSL")
		case value[0]&sslClient == 0:
			return nil
		}
		var version, cipher string
		err := eachTLV(value[verify:], func(kind byte, value []byte) error {
			switch kind {
			case tlvSSLVersion: // written as our own are
				version = tlsName(strings.Replace(string(value), "TLSv", "TLS", 1))
			case tlvSSLCipher:
				cipher = tlsName(string(value))
			}
			return nil
		})
		h.TLS = strings.TrimSpace(version + " " + cipher)
		return err
	})
}

// eachTLV calls f for each TLV: a type, a length of two bytes, a value.
func eachTLV(block []byte, f func(kind byte, value []byte) error) error {
	for len(block) > 0 {
		const header = 1 + 2
		if len(block) < header || len(block)-header < int(binary.BigEndian.Uint16(block[1:])) {
			return errors.New("incomplete TLV")
		}
		end := header + int(binary.BigEndian.Uint16(block[1:]))
		if err := f(block[0], block[header:end]); err != nil {
			return err
		}
		block = block[end:]
	}
	return nil
}

// tlsName returns s if it is a name, else "".
func tlsName(s string) string {
	odd := func(c rune) bool {
		return !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.ContainsRune("._-", c))
	}
	if len(s) > maxTLSName || strings.ContainsFunc(s, odd) {
		return ""
	}
	return s
}
