package smtpd_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestHello: a handshake succeeds whatever the size of the ClientHello is, and however it
// arrives.
func TestHello(t *testing.T) {
	f := start(t, func(s *setup) { s.loops = 1 })
	for _, size := range []int{0, 100, 255, 256, 257, 2000, 12_000} {
		for _, piece := range []int{1, 3, 200, 5000} {
			c := f.greeted()
			c.cmd("STARTTLS", "220")
			config := clientTLS()
			for range size / 100 {
				config.NextProtos = append(config.NextProtos, strings.Repeat("x", 98))
			}
			inside := tls.Client(&slicer{Conn: c.Conn, n: piece}, config)
			if err := inside.Handshake(); err != nil {
				t.Errorf("%d bytes of protocols in pieces of %d: %v", size, piece, err)
				continue
			}
			c = newClient(t, inside)
			c.cmd("EHLO x", "250")
			c.cmd("QUIT", "221")
		}
	}
}

// TestImpossibleRecord: the server closes the connection after the header of a record that
// crypto/tls refuses, and does not wait for the rest of the record.
func TestImpossibleRecord(t *testing.T) {
	f := start(t, func(s *setup) { s.loops = 1; s.settings.Timeout = time.Hour })
	for _, header := range []string{"\x16\x50\x41\x3f\xff", "\x16\x03\x01\xff\xff", "\x17\x03\x03\x00\x20"} {
		c := f.greeted()
		c.cmd("STARTTLS", "220")
		c.send(header)
		if _, err := io.ReadAll(c.Conn); err != nil { // before the deadline of the client
			t.Errorf("%q: %v", header, err)
		}
	}
}

// FuzzHello: the server replies to the first bytes of a handshake as crypto/tls does.
func FuzzHello(f *testing.F) {
	hello := firstFlight(f, clientTLS())
	twice := evenFlight(f)
	twice = append(twice, twice[5:]...) // two messages in one record
	binary.BigEndian.PutUint16(twice[3:], uint16(len(twice)-5))
	for _, seed := range [][]byte{
		hello, hello[:40], hello[:4], twice, append(bytes.Clone(hello), hello...), append(bytes.Clone(hello), 20, 3, 3, 0, 1, 1),
		[]byte("\x16\x03\x01\x00\x00"), []byte("\x16\x03\x01\x40\x01"), []byte("\x16\x50\x41\x3f\xff"), []byte("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), []byte("\x15\x03\x01\x00\x02\x02\x28"), []byte("EHLO x\r\n"),
	} {
		f.Add(seed)
	}
	server := start(f, func(s *setup) { s.loops = 1 })
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { plain.Close() })
	config := serverTLS().Clone()
	config.MinVersion = tls.VersionTLS12
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = tls.Server(c, config).Handshake()
				_, _ = io.Copy(io.Discard, c) // unread input would make the close destroy the reply
			}()
		}
	}()
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := net.Dial("tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		want := answer(t, c.(*net.TCPConn), in)
		inside := (&fixture{t: t, addr: server.addr}).greeted()
		inside.cmd("STARTTLS", "220")
		if got := answer(t, inside.Conn.(*net.TCPConn), in); !slices.Equal(got, want) {
			t.Errorf("the records of the reply are %v, want %v", got, want)
		}
	})
}

// answer sends the first bytes of a handshake. It returns the types of the records of the reply,
// and the alerts that are not encrypted.
func answer(t *testing.T, c *net.TCPConn, in []byte) (records []string) {
	t.Helper()
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(in); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		return nil
	}
	reply, _ := io.ReadAll(c)
	for len(reply) > 5 {
		end := min(5+int(binary.BigEndian.Uint16(reply[3:])), len(reply))
		record := fmt.Sprint(reply[0])
		if reply[0] == 21 {
			record += fmt.Sprint(reply[5:end])
		}
		records = append(records, record)
		reply = reply[end:]
	}
	return records
}

// firstFlight returns the first bytes of a client.
func firstFlight(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	var hello bytes.Buffer
	if err := tls.Client(recorder{Writer: &hello}, config).Handshake(); err == nil {
		t.Fatal("a handshake without a server succeeds")
	}
	return hello.Bytes()
}

// evenFlight returns the first bytes of a client whose ClientHello has a multiple of 256 bytes, so
// that a small record ends where it ends.
func evenFlight(t testing.TB) []byte {
	t.Helper()
	config := clientTLS()
	for n := range 256 {
		config.NextProtos = []string{strings.Repeat("x", max(n, 1))}
		if hello := firstFlight(t, config); (len(hello)-5)%256 == 0 {
			return hello
		}
	}
	t.Fatal("no ClientHello has a multiple of 256 bytes")
	return nil
}

// recorder is a connection that records what is written, and has no input.
type recorder struct {
	net.Conn
	io.Writer
}

func (r recorder) Write(p []byte) (int, error) { return r.Writer.Write(p) }
func (recorder) Read([]byte) (int, error)      { return 0, errors.New("no input") }
func (recorder) Close() error                  { return nil }
