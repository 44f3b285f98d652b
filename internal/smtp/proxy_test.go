package smtp_test

import (
	"net"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"goguerrillad/internal/smtp"
)

// v2 writes a header of version 2 from 198.51.100.9 with these addenda.
func v2(t testing.TB, addenda ...proxyproto.TLV) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 9), Port: 4711}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25})
	if err := h.SetTLVs(addenda); err != nil {
		t.Fatal(err)
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ssl is the addendum that tells of TLS.
func ssl(client byte, version, suite string) proxyproto.TLV {
	value := append([]byte{client, 0, 0, 0, 0, 0x21, 0, byte(len(version))}, version...)
	value = append(append(value, 0x23, 0, byte(len(suite))), suite...)
	return proxyproto.TLV{Type: proxyproto.PP2_TYPE_SSL, Value: value}
}

const v2Local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

func TestParseProxyHeader(t *testing.T) {
	for _, tt := range []struct{ name, in, client, tls string }{
		{"v1", "PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\n", "198.51.100.9:4711", ""},
		{"v1 of IPv6", "PROXY TCP6 2001:db8::9 2001:db8::1 4711 25\r\n", "[2001:db8::9]:4711", ""},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "invalid AddrPort", ""},
		{"v1 unknown and more", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "invalid AddrPort", ""},
		{"v2", v2(t), "198.51.100.9:4711", ""},
		{"v2 with TLS", v2(t, ssl(1, "TLSv1.3", "TLS_AES_256_GCM_SHA384")), "198.51.100.9:4711", "TLS1.3 TLS_AES_256_GCM_SHA384"},
		{"v2 without TLS", v2(t, ssl(0, "TLSv1.3", "x")), "198.51.100.9:4711", ""},
		{"v2 with odd TLS", v2(t, ssl(1, "TLSv1.2)", "x\r\ny")), "198.51.100.9:4711", ""},
		{"v2 with a name", v2(t, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("mx.test")}), "198.51.100.9:4711", ""},
	} {
		for _, behind := range []string{"", "EHLO x\r\n"} {
			h, n, err := smtp.ParseProxyHeader([]byte(tt.in + behind))
			if err != nil || n != len(tt.in) || h.Local || h.Client.String() != tt.client || h.TLS != tt.tls {
				t.Errorf("%s: %+v, %d, %v", tt.name, h, n, err)
			}
		}
		for i := range len(tt.in) {
			if h, n, err := smtp.ParseProxyHeader([]byte(tt.in[:i])); err != nil || n != 0 || h != (smtp.ProxyHeader{}) {
				t.Errorf("%s, %d bytes: %+v, %d, %v", tt.name, i, h, n, err)
			}
		}
	}
	if h, n, err := smtp.ParseProxyHeader([]byte(v2Local)); err != nil || !h.Local || n != len(v2Local) {
		t.Errorf("local: %+v, %d, %v", h, n, err)
	}

	for _, in := range []string{
		"EHLO x\r\n", "\r\nx", "PROXYTCP4 ", "proxy TCP4 198.51.100.9 192.0.2.1 4711 25\r\n",
		"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\n", "PROXY TCP4 198.51.100.9 192.0.2.1 4711\r\n",
		"PROXY TCP4 localhost 192.0.2.1 1 25\r\n", "PROXY TCP4 198.51.100.9 192.0.2.1 65536 25\r\n",
		"PROXY TCP4 198.51.100.9\x00 192.0.2.1 1 25\r\n", "PROXY UDP4 198.51.100.9 192.0.2.1 1 25\r\n",
		"PROXY " + strings.Repeat("x", 102),
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x04abcd",           // shorter than its addresses
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",               // far too long
		"\r\n\r\n\x00\r\nQUIT\n\x11\x11\x00\x0cabcdabcdabcd",   // version 1
		"\r\n\r\n\x00\r\nQUIT\n\x22\x11\x00\x0cabcdabcdabcd",   // no such command
		"\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0cabcdabcdabcd",   // datagrams
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0dabcdabcdabcdx",  // half an addendum
		"\r\n\r\n\x00\r\nQUIT\n\x21\x41\x00\x0cabcdabcdabcd\r", // no such family
	} {
		if h, n, err := smtp.ParseProxyHeader([]byte(in)); err == nil || n != 0 || h != (smtp.ProxyHeader{}) {
			t.Errorf("%q: %+v, %d, %v", in, h, n, err)
		}
	}
}

// FuzzParseProxyHeader: what is taken is within the input, and its parts are
// what they are said to be.
func FuzzParseProxyHeader(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\n", "PROXY UNKNOWN\r\n", v2Local, v2(f), v2(f, ssl(1, "TLSv1.3", "x"))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, n, err := smtp.ParseProxyHeader(in)
		if n < 0 || n > len(in) || n > 16+4096 || (err != nil || n == 0) && h != (smtp.ProxyHeader{}) || err != nil && n != 0 {
			t.Fatalf("%q: %+v, %d, %v", in, h, n, err)
		}
		if addr := h.Client.Addr(); addr.Is4In6() || addr.Zone() != "" {
			t.Errorf("%q: client %v", in, addr)
		}
		if strings.ContainsFunc(h.TLS, func(r rune) bool { return r < ' ' || r > '~' || r == '(' || r == ')' }) {
			t.Errorf("%q: TLS %q", in, h.TLS)
		}
	})
}
