package smtp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// A ProxyHeader is what a proxy says of its client in front of all else, by
// the PROXY protocol, version 1 or 2.
type ProxyHeader struct {
	// Local: the proxy speaks for itself, to see whether we are well.
	Local  bool
	Client netip.AddrPort // not valid when the proxy does not know it
	TLS    string         // version and cipher suite between client and proxy, "" when there is none or none is told
}

// Bounds of a header, in bytes.
const (
	maxProxyV1 = 107                // with its CR LF, as the protocol has it
	proxyV2Len = 16                 // of what comes before the addresses
	maxProxyV2 = proxyV2Len + 4<<10 // the most that the library takes; the protocol allows 64 KiB
	maxTLSName = 64                 // of a version or a cipher suite
)

var errNoProxyHeader = errors.New("no PROXY header")

// ParseProxyHeader reads the header that in begins with, and returns its
// length. When that is 0 and there is no error, more of it has to come.
func ParseProxyHeader(in []byte) (h ProxyHeader, length int, err error) {
	length, err = proxyHeaderLength(in)
	if err != nil || length == 0 {
		return ProxyHeader{}, 0, err
	}
	parsed, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(in[:length]), length))
	if err == nil {
		err = h.take(parsed)
	}
	if err != nil {
		return ProxyHeader{}, 0, fmt.Errorf("PROXY header: %w", err)
	}
	return h, length, nil
}

// proxyHeaderLength finds the end of a header, 0 where it has not come yet.
func proxyHeaderLength(in []byte) (int, error) {
	switch {
	case startsLike(in, proxyproto.SIGV2):
		if len(in) < proxyV2Len {
			return 0, nil
		}
		length := proxyV2Len + int(binary.BigEndian.Uint16(in[proxyV2Len-2:]))
		if length > maxProxyV2 {
			return 0, fmt.Errorf("PROXY header of %d bytes: too long", length)
		}
		if len(in) < length {
			return 0, nil
		}
		return length, nil
	case startsLike(in, append(proxyproto.SIGV1, ' ')):
		end := bytes.IndexByte(in[:min(len(in), maxProxyV1)], '\n')
		if end < 0 && len(in) >= maxProxyV1 {
			return 0, errors.New("PROXY header: no end of line")
		}
		return end + 1, nil
	}
	return 0, errNoProxyHeader
}

// startsLike reports whether in begins with what it has of mark.
func startsLike(in, mark []byte) bool {
	n := min(len(in), len(mark))
	return bytes.Equal(in[:n], mark[:n])
}

// take keeps what we need.
func (h *ProxyHeader) take(parsed *proxyproto.Header) error {
	h.Local = parsed.Version == 2 && parsed.Command == proxyproto.LOCAL
	if h.Local || parsed.TransportProtocol == proxyproto.UNSPEC || parsed.TransportProtocol == proxyproto.UnixStream {
		return h.takeTLS(parsed)
	}
	source, ok := parsed.SourceAddr.(*net.TCPAddr)
	if !ok {
		return errors.New("not of a stream")
	}
	addr, ok := netip.AddrFromSlice(source.IP)
	if !ok {
		return errors.New("no address of a client")
	}
	h.Client = netip.AddrPortFrom(addr.Unmap(), uint16(source.Port))
	return h.takeTLS(parsed)
}

// takeTLS keeps the addendum PP2_TYPE_SSL.
func (h *ProxyHeader) takeTLS(parsed *proxyproto.Header) error {
	if parsed.Version != 2 {
		return nil
	}
	addenda, err := parsed.TLVs()
	if err != nil {
		return err
	}
	ssl, ok := tlvparse.FindSSL(addenda)
	if !ok || !ssl.ClientSSL() {
		return nil
	}
	version, _ := ssl.SSLVersion()
	suite, _ := ssl.SSLCipher()
	// Written as our own are.
	version = strings.Replace(version, "TLSv", "TLS", 1)
	h.TLS = strings.TrimSpace(tlsName(version) + " " + tlsName(suite))
	return nil
}

// tlsName returns a name if it is one, else nothing.
func tlsName(s string) string {
	odd := func(c rune) bool {
		return !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.ContainsRune("._-", c))
	}
	if len(s) > maxTLSName || strings.ContainsFunc(s, odd) {
		return ""
	}
	return s
}
