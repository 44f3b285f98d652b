package mysql_test

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
)

// offersTLS is the bit of the greeting by which a server offers TLS.
const offersTLS = 0x0800

// TestPreferredTLS: after a connection to a server without TLS, MYSQL_TLS=preferred
// still uses TLS when the server offers it.
func TestPreferredTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var offer atomic.Bool
	requests := make(chan uint32, 10) // lengths of the first packets of clients
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			first := []byte(greeting)
			at := len("\x0a5.5.5-10.11.0-MariaDB\x00\x07\x00\x00\x0012345678\x00") // of the capabilities
			capabilities := binary.LittleEndian.Uint16(first[at:]) &^ offersTLS
			if offer.Load() {
				capabilities |= offersTLS
			}
			binary.LittleEndian.PutUint16(first[at:], capabilities)
			_, _ = c.Write(append([]byte{byte(len(first)), 0, 0, 0}, first...))
			var head [4]byte
			if _, err := io.ReadFull(c, head[:]); err == nil {
				head[3] = 0
				requests <- binary.LittleEndian.Uint32(head[:])
			}
			c.Close()
		}
	}()
	s, err := mysql.New(mysql.Options{Hosts: []string{l.Addr().String()}, User: "u", DB: "d", Table: "new_mail", TLS: "preferred",
		Timeout: 9 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const sslRequest = 32 // its length; a login is longer
	for _, offered := range []bool{false, true} {
		offer.Store(offered)
		test.Await(t, nil, 10*time.Second, "the store does not connect", func() error {
			err := s.Check(t.Context()) // fails, since the server sends no reply
			if len(requests) > 0 {
				return nil
			}
			return err
		})
		for len(requests) > 0 {
			if n := <-requests; (n == sslRequest) != offered {
				t.Errorf("the server offers TLS: %v; the first packet of the client has %d bytes", offered, n)
			}
		}
	}
}
