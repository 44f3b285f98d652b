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

// A ProxyHeader describes a proxy's client. The proxy sends it before all other bytes
// (PROXY protocol, version 1 or 2: HAProxy's doc/proxy-protocol.txt). Section
// numbers in this file are those of that document.
type ProxyHeader struct {
	Local  bool           // the proxy has no client: it checks the server
	Client netip.AddrPort // invalid if the proxy does not know it
	TLS    string         // version and cipher suite between client and proxy; "" without TLS or if not reported
}

// Bounds of a header, in bytes.
const (
	maxProxyV1 = 107 // with CR LF
	proxyV2Len = 16  // before the addresses
	maxTLSName = 64  // a version or a cipher suite
	// MaxProxyHeader is the length of the longest header.
	MaxProxyHeader = proxyV2Len + 1<<16 - 1
)

// The signatures of both versions.
const (
	proxyV1Signature = "PROXY "
	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
)

// LocalProxyHeader is the header of a connection that only checks a server.
const LocalProxyHeader = proxyV2Signature + "\x20\x00\x00\x00"

var errNoProxyHeader = errors.New("no PROXY header")

// ParseProxyHeader parses the header at the start of in, and returns its length in
// bytes. It returns length 0 without an error if the header is incomplete.
func ParseProxyHeader(in []byte) (h ProxyHeader, length int, err error) {
	switch {
	case hasPartialPrefix(in, proxyV2Signature):
		length = MaxProxyHeader
		if len(in) >= proxyV2Len {
			length = proxyV2Len + int(binary.BigEndian.Uint16(in[proxyV2Len-2:]))
		}
		switch err = checkV2(in[min(len(in), len(proxyV2Signature)):]); {
		case err != nil: // without waiting for the block, which the peer may never send
		case len(in) < length:
			return ProxyHeader{}, 0, nil
		default:
			err = h.parseV2(in[len(proxyV2Signature)], in[len(proxyV2Signature)+1], in[proxyV2Len:length])
		}
	case hasPartialPrefix(in, proxyV1Signature):
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

// HasProxySignature reports whether in begins with the signature of a PROXY header, or
// whether more bytes are needed to find out.
func HasProxySignature(in []byte) (found, more bool) {
	for _, signature := range []string{proxyV1Signature, proxyV2Signature} {
		if hasPartialPrefix(in, signature) {
			return len(in) >= len(signature), len(in) < len(signature)
		}
	}
	return false, false
}

// hasPartialPrefix reports whether in begins with prefix, or is shorter and begins it.
func hasPartialPrefix(in []byte, prefix string) bool {
	n := min(len(in), len(prefix))
	return string(in[:n]) == prefix[:n]
}

// parseV1 parses a line without its LF (section 2.1).
func (h *ProxyHeader) parseV1(line string) error {
	line, ok := strings.CutSuffix(line, "\r")
	if !ok {
		return errors.New("no CR before the LF")
	}
	words := strings.Split(line, " ")
	if words[1] == "UNKNOWN" {
		return nil // the receiver must ignore the rest of the line
	}
	if len(words) != 6 {
		return fmt.Errorf("%d words", len(words))
	}
	source, err := parseV1Address(words[2], words[4])
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	// nginx behind another proxy sends the family of the client, but its own address
	// may be of the other family.
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

// checkV2 checks the bytes that have arrived after the signature: version and command,
// family and transport.
func checkV2(in []byte) error {
	if len(in) > 0 && in[0] != v2Local && in[0] != v2Proxy {
		return fmt.Errorf("version and command %#x", in[0])
	}
	if len(in) > 1 && in[0] == v2Proxy && (in[1]>>4 > v2LastFamily || in[1]&15 > v2LastTransport) {
		return fmt.Errorf("family and transport %#x", in[1])
	}
	return nil
}

// parseV2 parses the bytes after the signature, which checkV2 has accepted, and the
// block of addresses and TLVs.
func (h *ProxyHeader) parseV2(command, family byte, block []byte) error {
	if command == v2Local { // the receiver must ignore the family and the block
		h.Local = true
		return nil
	}
	addresses := 0 // length in bytes
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
	default: // a valid family that is not supported: handled like v2Unspecified
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

// Types of TLVs, and of the TLVs inside PP2_TYPE_SSL (section 2.2.6).
const (
	tlvSSL        = 0x20
	tlvSSLVersion = 0x21
	tlvSSLCipher  = 0x23

	sslClient = 0x01 // bit of the first byte of PP2_TYPE_SSL: the client uses TLS
)

// parseTLVs sets TLS.
func (h *ProxyHeader) parseTLVs(block []byte) error {
	return eachTLV(block, func(kind byte, value []byte) error {
		const verify = 1 + 4 // bytes before the inner TLVs: client, verify
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
			case tlvSSLVersion: // smtpd writes TLS1.3 instead of TLSv1.3
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

// eachTLV calls f for each TLV: one byte of type, two bytes of length, the value.
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

// tlsName returns s if it can be a version or a cipher suite, else "".
func tlsName(s string) string {
	invalid := func(c rune) bool {
		return !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.ContainsRune("._-", c))
	}
	if len(s) > maxTLSName || strings.ContainsFunc(s, invalid) {
		return ""
	}
	return s
}
