package mysql_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail/mysql"
)

// greeting is a MariaDB's first packet.
const greeting = "\x0a5.5.5-10.11.0-MariaDB\x00\x07\x00\x00\x0012345678\x00\xdf\xf7\x21\x02\x00\xff\x00\x15" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00mysql_native_password\x00"

const okPacket = "\x00\x00\x00\x02\x00\x00\x00"

// malformed is a server that sends these packets: the first one, the answer to
// the login, and the answer to each command. It returns its address.
func malformed(t *testing.T, first, login, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		send := func(sequence byte, packet string) {
			_, _ = conn.Write(append([]byte{byte(len(packet)), byte(len(packet) >> 8), 0, sequence}, packet...))
		}
		for sequence, packet := byte(0), first; ; packet = answer {
			send(sequence, packet)
			var head [4]byte
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			sequence = head[3] + 1
			head[3] = 0
			if _, err := r.Discard(int(binary.LittleEndian.Uint32(head[:]))); err != nil {
				return
			}
			if sequence == 2 { // the login, sent once
				send(sequence, login)
				if _, err := io.ReadFull(r, head[:]); err != nil {
					return
				}
				sequence = head[3] + 1
				head[3] = 0
				if _, err := r.Discard(int(binary.LittleEndian.Uint32(head[:]))); err != nil {
					return
				}
			}
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// TestMalformedPackets: a server that does not speak the protocol counts as
// unavailable, and the daemon goes on.
func TestMalformedPackets(t *testing.T) {
	for name, packets := range map[string][3]string{
		"greeting of one byte":      {"\x0a", "", ""},
		"greeting without the rest": {"\x0a5.5\x00", "", ""},
		"greeting of nothing":       {"", "", ""},
		"refusal of one byte":       {"\xff", "", ""},
		"login refused by one byte": {greeting, "\xff", ""},
		"login of nothing":          {greeting, "", ""},
		"error of one byte":         {greeting, okPacket, "\xff"},
		"length cut short":          {greeting, okPacket, "\xfc"},
		"2^62 columns":              {greeting, okPacket, "\xfe\x00\x00\x00\x00\x00\x00\x00\x40"},
		"2^40 columns":              {greeting, okPacket, "\xfe\x00\x00\x00\x00\x00\x01\x00\x00"},
		"a file of ours":            {greeting, okPacket, "\xfb/etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := mysql.Options{
				Hosts: []string{malformed(t, packets[0], packets[1], packets[2])}, User: "u", DB: "d", Table: "new_mail",
				Timeout: 3 * time.Second, Log: slog.New(slog.DiscardHandler),
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			s, err := mysql.New(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Check(ctx); err == nil {
				t.Error("the server is good")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			r, err := mysql.NewRecipients(o, recipient.Query{SQL: "SELECT 1"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Has(ctx, "a@example.com", "example.com"); err == nil {
				t.Error("the recipients' server is good")
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
