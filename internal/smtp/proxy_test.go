package smtp_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"goguerrillad/internal/smtp"
)

// v2 returns a header of version 2 for the client 198.51.100.9 with the given TLVs.
func v2(t testing.TB, tlvs ...proxyproto.TLV) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 9), Port: 4711}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25})
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ssl returns a PP2_TYPE_SSL.
func ssl(client byte, version, suite string) proxyproto.TLV {
	value := append([]byte{client, 0, 0, 0, 0, 0x21, 0, byte(len(version))}, version...)
	value = append(append(value, 0x23, 0, byte(len(suite))), suite...)
	return proxyproto.TLV{Type: proxyproto.PP2_TYPE_SSL, Value: value}
}

const v2Signature = "\r\n\r\n\x00\r\nQUIT\n"

// TestParseProxyHeader parses valid headers, whole and incomplete, with and without
// commands after them, and invalid headers.
func TestParseProxyHeader(t *testing.T) {
	worst := "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
	for _, tt := range []struct{ name, in, client, tls string }{
		// The examples of the specification (section 2.1).
		{"v1, least IPv4", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", ""},
		{"v1, longest IPv4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", ""},
		{"v1, longest IPv6", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", ""},
		{"v1, shortest", "PROXY UNKNOWN\r\n", "invalid AddrPort", ""},
		{"v1, longest", worst, "invalid AddrPort", ""},
		{"v1, example", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324", ""},

		{"v1", "PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\n", "198.51.100.9:4711", ""},
		{"v1 of IPv6", "PROXY TCP6 2001:db8::9 2001:DB8::1 4711 25\r\n", "[2001:db8::9]:4711", ""},
		{"v1 of IPv4 in IPv6", "PROXY TCP6 ::ffff:198.51.100.9 ::ffff:192.0.2.1 4711 25\r\n", "198.51.100.9:4711", ""},
		{"v1 of nginx behind a proxy, IPv6", "PROXY TCP6 2001:db8::9 127.0.0.1 4711 25\r\n", "[2001:db8::9]:4711", ""},
		{"v1 of nginx behind a proxy, IPv4", "PROXY TCP4 198.51.100.9 ::1 4711 25\r\n", "198.51.100.9:4711", ""},
		{"v1 unknown with a rest", "PROXY UNKNOWN  what\x00ever\r\n", "invalid AddrPort", ""},
		{"v2", v2(t), "198.51.100.9:4711", ""},
		{"v2 with TLS", v2(t, ssl(1, "TLSv1.3", "TLS_AES_256_GCM_SHA384")), "198.51.100.9:4711", "TLS1.3 TLS_AES_256_GCM_SHA384"},
		{"v2 with TLS, without its version and cipher suite", v2(t, proxyproto.TLV{Type: proxyproto.PP2_TYPE_SSL, Value: []byte{1, 0, 0, 0, 0}}), "198.51.100.9:4711", ""},
		{"v2 without TLS", v2(t, ssl(0, "TLSv1.3", "x")), "198.51.100.9:4711", ""},
		{"v2 with TLS names that are not valid", v2(t, ssl(1, "TLSv1.2)", "x\r\ny")), "198.51.100.9:4711", ""},
		{"v2 with a host name", v2(t, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("mx.test")}), "198.51.100.9:4711", ""},
		{"v2 with a long TLV", v2(t, proxyproto.TLV{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, 1<<16-1-12-3)}), "198.51.100.9:4711", ""},
		{"v2 of IPv4 in IPv6", v2Signature + "\x21\x21\x00\x24" + strings.Repeat("\x00", 10) + "\xff\xff\xc6\x33\x64\x09" + strings.Repeat("\x00", 16) + "\x12\x67\x00\x19", "198.51.100.9:4711", ""},
		{"v2 of a unix socket, with TLS", v2Signature + "\x21\x31\x00\xf2" + strings.Repeat("/", 216) + "\x20\x00\x17\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x23\x00\x05suite", "invalid AddrPort", "TLS1.3 suite"},
		{"v2 unspecified, with TLS", v2Signature + "\x21\x00\x00\x1a" + "\x20\x00\x17\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x23\x00\x05suite", "invalid AddrPort", "TLS1.3 suite"},
		{"v2 unspecified, with half of TLS", v2Signature + "\x21\x00\x00\x19" + "\x20\x00\x17\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x23\x00\x05suit", "invalid AddrPort", ""},
	} {
		for _, commands := range []string{"", "EHLO x\r\n"} {
			h, n, err := smtp.ParseProxyHeader([]byte(tt.in + commands))
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if n != len(tt.in) {
				t.Errorf("%s: length %d, want %d", tt.name, n, len(tt.in))
			}
			if h.Local {
				t.Errorf("%s: local", tt.name)
			}
			if h.Client.String() != tt.client {
				t.Errorf("%s: client %s, want %s", tt.name, h.Client, tt.client)
			}
			if h.TLS != tt.tls {
				t.Errorf("%s: TLS %q, want %q", tt.name, h.TLS, tt.tls)
			}
		}
		for i := range len(tt.in) {
			if h, n, err := smtp.ParseProxyHeader([]byte(tt.in[:i])); err != nil || n != 0 || h != (smtp.ProxyHeader{}) {
				t.Fatalf("%s, the first %d bytes: header %+v, length %d, error %v, want none", tt.name, i, h, n, err)
			}
		}
	}
	if h, n, err := smtp.ParseProxyHeader([]byte(smtp.LocalProxyHeader)); err != nil || !h.Local || n != len(smtp.LocalProxyHeader) {
		t.Errorf("LocalProxyHeader: local %v, length %d, error %v", h.Local, n, err)
	}

	for _, in := range []string{
		"EHLO x\r\n", "\r\nx", "PROXYTCP4 ", "proxy TCP4 198.51.100.9 192.0.2.1 4711 25\r\n",
		"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\n", "PROXY TCP4 198.51.100.9 192.0.2.1 4711\r\n",
		"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25 \r\n", "PROXY  TCP4 198.51.100.9 192.0.2.1 4711 25\r\n",
		"PROXY TCP4 localhost 192.0.2.1 1 25\r\n", "PROXY TCP4 198.51.100.9 192.0.2.1 65536 25\r\n",
		"PROXY TCP4 198.51.100.9 192.0.2.1 1 65536\r\n", "PROXY TCP4 198.51.100.9 192.0.2.1 01 25\r\n", "PROXY TCP4 198.51.100.9 192.0.2.1 +1 25\r\n",
		"PROXY TCP4 198.51.100.9\x00 192.0.2.1 1 25\r\n", "PROXY UDP4 198.51.100.9 192.0.2.1 1 25\r\n",
		"PROXY TCP4 2001:db8::9 192.0.2.1 1 25\r\n", "PROXY TCP6 198.51.100.9 2001:db8::1 1 25\r\n", "PROXY TCP4 ::ffff:198.51.100.9 192.0.2.1 1 25\r\n",
		"PROXY TCP6 fe80::1%eth0 fe80::2 1 25\r\n", "PROXY unknown\r\n", "PROXY UNKNOWN\n", "PROXY \r\n", "PROXY UNKNOWNX\r\n",
		"PROXY " + strings.Repeat("x", 101), worst[:105] + "x\r\n",
		v2Signature + "\x22", v2Signature + "\x11\x11\xff\xff", v2Signature + "\x21\x41", v2Signature + "\x21\x13\xff\xff", // without a block
		v2Signature + "\x21\x11\x00\x0dabcdabcdabcdx",                                    // an incomplete TLV
		v2Signature + "\x21\x11\x00\x12abcdabcdabcd\x20\x00\x03\x01\x00\x00",             // a short PP2_TYPE_SSL
		v2Signature + "\x21\x11\x00\x15abcdabcdabcd\x20\x00\x06\x01\x00\x00\x00\x00\x21", // an incomplete TLV inside it
		v2Signature + "\x21\x31\x00\xdb" + strings.Repeat("/", 216) + "\x20\x00\x06",     // an incomplete TLV after the addresses of unix sockets
	} {
		if h, n, err := smtp.ParseProxyHeader([]byte(in)); err == nil || n != 0 || h != (smtp.ProxyHeader{}) {
			t.Errorf("%q: header %+v, length %d, error %v, want an error only", in, h, n, err)
		}
	}
}

// wantV2 returns the result for a header with these bytes 13 and 14 and a block of this
// length, by section 2.2 of the specification. complete reports whether the bytes after
// the addresses are complete TLVs.
func wantV2(command, family byte, length int, complete func(tlvs int) bool) string {
	if command>>4 != 2 { // "the receiver must only accept this value"
		return "refused"
	}
	switch command & 15 {
	case 0: // "must accept this connection as valid", "discard the protocol block including the family"
		return "local"
	case 1:
	default: // "Receivers must drop connections presenting unexpected values"
		return "refused"
	}
	if family>>4 > 3 || family&15 > 2 { // "must be rejected as invalid by receivers"
		return "refused"
	}
	addresses := map[byte]int{0x11: 12, 0x21: 36, 0x31: 216}[family]
	switch {
	case addresses == 0: // UNSPEC and unsupported families: "should ignore address information"
		return "unknown"
	case length < addresses || !complete(length-addresses):
		return "refused"
	case family == 0x31:
		return "unknown"
	}
	return "client"
}

// TestProxyHeaderV2 parses all versions, commands, families and transports with empty,
// short, exact and longer blocks.
func TestProxyHeaderV2(t *testing.T) {
	for _, length := range []int{0, 1, 3, 11, 12, 13, 15, 35, 36, 37, 39, 215, 216, 217, 219, 5000, 1<<16 - 1} {
		for _, fill := range []byte{0, 0xff} { // TLVs of length 0, and TLVs that are longer than the block
			complete := func(tlvs int) bool { return tlvs%3 == 0 && fill == 0 || tlvs == 0 }
			in := append([]byte(v2Signature+"\x00\x00\x00\x00"), bytes.Repeat([]byte{fill}, length)...)
			in = append(in, "EHLO x\r\n"...)
			binary.BigEndian.PutUint16(in[14:], uint16(length))
			for i := range 1 << 16 {
				in[12], in[13] = byte(i>>8), byte(i)
				h, n, err := smtp.ParseProxyHeader(in)
				got := "client"
				switch {
				case err != nil:
					got = "refused"
				case n != 16+length:
					got = fmt.Sprintf("%d bytes long", n)
				case h.Local:
					got = "local"
				case !h.Client.IsValid():
					got = "unknown"
				}
				if want := wantV2(in[12], in[13], length, complete); got != want {
					t.Fatalf("bytes 13 and 14 %x, block of %d times %x: %s, want %s (error %v)", in[12:14], length, fill, got, want, err)
				}
			}
		}
	}
}

// TestProxyHeaderOracle compares the parser with another implementation, for valid and
// almost valid lines of version 1.
func TestProxyHeaderOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	address := func() string {
		return pick("192.0.2.1", "0.0.0.0", "255.255.255.255", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "::", "::1", "2001:DB8::ffff",
			"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "::ffff:1.2.3.4", "fe80::1%lo", ":::1", "", "x")
	}
	port := func() string { return pick("0", "25", "65535", "65536", "00", "025", "-1", "+1", "", "2 5", "1e3") }
	for range 200_000 {
		sep := pick(" ", " ", " ", " ", " ", " ", " ", " ", "  ", "\t")
		source, destination := address(), address()
		line := strings.Join([]string{"PROXY", pick("TCP4", "TCP6", "UNKNOWN", "TCP", "tcp4"), source, destination, port(), port()}, sep) +
			pick("\r\n", "\r\n", "\r\n", "\n", " \r\n", "\r\r\n")
		a, errA := netip.ParseAddr(source)
		b, errB := netip.ParseAddr(destination)
		if errA == nil && errB == nil && a.Is4() != b.Is4() {
			continue // nginx sends it; the other implementation refuses it
		}
		h, n, err := smtp.ParseProxyHeader([]byte(line))
		other, otherErr := proxyproto.Read(bufio.NewReader(strings.NewReader(line)))
		if (err == nil) != (otherErr == nil) {
			t.Fatalf("%q: error %v, other implementation %v", line, err, otherErr)
		}
		if err != nil {
			continue
		}
		want := "invalid AddrPort"
		if addr, ok := other.SourceAddr.(*net.TCPAddr); ok {
			ap := addr.AddrPort()
			want = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
		}
		if n != len(line) || h.Local || h.Client.String() != want {
			t.Fatalf("%q: client %s, want %s; length %d, local %v", line, h.Client, want, n, h.Local)
		}
	}
}

// FuzzParseProxyHeader checks the properties of the results.
func FuzzParseProxyHeader(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\n", "PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
		v2Signature + "\x20\x11\x00\x04abcd", v2Signature + "\x21\x00\x00\x03\x04\x00\x00", v2Signature + "\x21\x31\x00\xd8" + strings.Repeat("/", 216), smtp.LocalProxyHeader, v2(f), v2(f, ssl(1, "TLSv1.3", "x"))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, n, err := smtp.ParseProxyHeader(in)
		if n < 0 || n > len(in) || n > smtp.MaxProxyHeader || (err != nil || n == 0) && h != (smtp.ProxyHeader{}) || err != nil && n != 0 {
			t.Fatalf("%q: header %+v, length %d, error %v", in, h, n, err)
		}
		if addr := h.Client.Addr(); addr.Is4In6() || addr.Zone() != "" {
			t.Errorf("%q: client %v", in, addr)
		}
		if strings.ContainsFunc(h.TLS, func(r rune) bool { return r < ' ' || r > '~' || r == '(' || r == ')' }) {
			t.Errorf("%q: TLS %q", in, h.TLS)
		}
	})
}
