package mysql_test

import (
	"bufio"
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	driverErrors "github.com/go-sql-driver/mysql"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test/storetest"
)

// greeting is the first packet of a MariaDB server.
const greeting = "\x0a5.5.5-10.11.0-MariaDB\x00\x07\x00\x00\x0012345678\x00\xdf\xf7\x21\x02\x00\xff\x00\x15" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00mysql_native_password\x00"

const okPacket = "\x00\x00\x00\x02\x00\x00\x00"

// packetServer starts a server that sends the given packets: the greeting, the
// reply to the login, and the replies to the commands, of which it repeats the
// last one. The channel receives a value when a connection ends.
func packetServer(t *testing.T, first, login string, replies ...[]string) (addr string, ended chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ended = make(chan struct{}, 100)
	serve := func(conn net.Conn) {
		defer func() { ended <- struct{}{} }()
		defer conn.Close()
		r := bufio.NewReader(conn)
		send := func(sequence byte, packets ...string) {
			for _, p := range packets {
				_, _ = conn.Write(append([]byte{byte(len(p)), byte(len(p) >> 8), 0, sequence}, p...))
				sequence++
			}
		}
		receive := func() (sequence byte, err error) {
			var head [4]byte
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return 0, err
			}
			sequence = head[3] + 1
			head[3] = 0
			_, err = r.Discard(int(binary.LittleEndian.Uint32(head[:])))
			return sequence, err
		}
		send(0, first)
		sequence, err := receive()
		if err != nil {
			return
		}
		send(sequence, login)
		for i := 0; ; i = min(i+1, len(replies)-1) {
			if sequence, err = receive(); err != nil {
				return
			}
			send(sequence, replies[i]...)
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
	return l.Addr().String(), ended
}

// awaitEnd waits for the end of a connection.
func awaitEnd(t *testing.T, ended chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the connection was not closed within 10 s")
	}
}

// TestMalformedReplies: a panic in any call of the driver becomes the error of a
// lost connection. The connection is closed and cannot be used again.
func TestMalformedReplies(t *testing.T) {
	const (
		short    = "\xff" // an error without its number
		prepared = "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		column   = "\x03def\x00\x00\x00\x01a\x00\x0c\x21\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
		end      = "\xfe\x00\x00\x02\x00"
	)
	query := func(ctx context.Context, dc driver.Conn) (driver.Rows, error) {
		return dc.(driver.QueryerContext).QueryContext(ctx, "SELECT 1", nil)
	}
	prepare := func(ctx context.Context, dc driver.Conn) (driver.Stmt, error) {
		return dc.(driver.ConnPrepareContext).PrepareContext(ctx, "SELECT 1")
	}
	begin := func(ctx context.Context, dc driver.Conn) (driver.Tx, error) {
		return dc.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
	}
	for name, tt := range map[string]struct {
		replies []string // to all commands but the last; "|" separates packets
		call    func(context.Context, driver.Conn) error
	}{
		"ping": {nil, func(ctx context.Context, dc driver.Conn) error { return dc.(driver.Pinger).Ping(ctx) }},
		"exec": {nil, func(ctx context.Context, dc driver.Conn) error {
			_, err := dc.(driver.ExecerContext).ExecContext(ctx, "DO 1", nil)
			return err
		}},
		"query": {nil, func(ctx context.Context, dc driver.Conn) error {
			_, err := query(ctx, dc)
			return err
		}},
		"prepare": {nil, func(ctx context.Context, dc driver.Conn) error {
			_, err := prepare(ctx, dc)
			return err
		}},
		"prepare without a context": {nil, func(_ context.Context, dc driver.Conn) error {
			_, err := dc.Prepare("SELECT 1")
			return err
		}},
		"begin": {nil, func(ctx context.Context, dc driver.Conn) error {
			_, err := begin(ctx, dc)
			return err
		}},
		"commit": {[]string{okPacket}, func(ctx context.Context, dc driver.Conn) error {
			tx, err := begin(ctx, dc)
			return cmp.Or(err, tx.Commit())
		}},
		"rollback": {[]string{okPacket}, func(ctx context.Context, dc driver.Conn) error {
			tx, err := begin(ctx, dc)
			return cmp.Or(err, tx.Rollback())
		}},
		"exec of a statement": {[]string{prepared}, func(ctx context.Context, dc driver.Conn) error {
			s, err := prepare(ctx, dc)
			if err == nil {
				_, err = s.(driver.StmtExecContext).ExecContext(ctx, nil)
			}
			return err
		}},
		"query of a statement": {[]string{prepared}, func(ctx context.Context, dc driver.Conn) error {
			s, err := prepare(ctx, dc)
			if err == nil {
				_, err = s.(driver.StmtQueryContext).QueryContext(ctx, nil)
			}
			return err
		}},
		"row": {[]string{"\x01|" + column + "|" + end + "|\xfc"}, func(ctx context.Context, dc driver.Conn) error {
			rows, err := query(ctx, dc)
			return cmp.Or(err, rows.Next(make([]driver.Value, 1)))
		}},
		"end of the rows": {[]string{"\x01|" + column + "|" + end + "|" + short}, func(ctx context.Context, dc driver.Conn) error {
			rows, err := query(ctx, dc)
			return cmp.Or(err, rows.Close())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var replies [][]string
			for _, r := range append(tt.replies, short) {
				replies = append(replies, strings.Split(r, "|"))
			}
			addr, ended := packetServer(t, greeting, okPacket, replies...)
			dc, err := mysql.ConnectSafely(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.call(t.Context(), dc); !errors.Is(err, driverErrors.ErrInvalidConn) || !strings.Contains(err.Error(), "malformed packet") {
				t.Errorf("error %v, want a malformed packet", err)
			}
			if dc.(driver.Validator).IsValid() {
				t.Error("IsValid: true after a panic")
			}
			if err := dc.(driver.SessionResetter).ResetSession(t.Context()); !errors.Is(err, driver.ErrBadConn) {
				t.Errorf("ResetSession: %v, want ErrBadConn", err)
			}
			awaitEnd(t, ended)
		})
	}
	t.Run("greeting", func(t *testing.T) {
		addr, ended := packetServer(t, short, "")
		if _, err := mysql.ConnectSafely(t.Context(), addr); !errors.Is(err, driverErrors.ErrInvalidConn) {
			t.Errorf("error %v, want ErrInvalidConn", err)
		}
		awaitEnd(t, ended)
	})
}

// TestMalformedPackets: a server that violates the protocol is unavailable.
func TestMalformedPackets(t *testing.T) {
	for name, packets := range map[string][3]string{
		"greeting of one byte":      {"\x0a", "", ""},
		"greeting without the rest": {"\x0a5.5\x00", "", ""},
		"empty greeting":            {"", "", ""},
		"refusal of one byte":       {"\xff", "", ""},
		"login refused by one byte": {greeting, "\xff", ""},
		"empty login reply":         {greeting, "", ""},
		"error of one byte":         {greeting, okPacket, "\xff"},
		"length cut short":          {greeting, okPacket, "\xfc"},
		"2^62 columns":              {greeting, okPacket, "\xfe\x00\x00\x00\x00\x00\x00\x00\x40"},
		"2^40 columns":              {greeting, okPacket, "\xfe\x00\x00\x00\x00\x00\x01\x00\x00"},
		"request for a local file":  {greeting, okPacket, "\xfb/etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, _ := packetServer(t, packets[0], packets[1], packets[2:])
			o := mysql.Options{
				Hosts: []string{addr}, User: "u", DB: "d", Table: "new_mail",
				Timeout: 3 * time.Second, Log: slog.New(slog.DiscardHandler),
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			s, err := mysql.New(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Check(ctx); err == nil {
				t.Error("Check returns no error")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			r, err := mysql.NewRecipients(o, recipient.Query{SQL: "SELECT 1"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Has(ctx, "a@example.com", "example.com"); err == nil {
				t.Error("Recipients.Has returns no error")
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSilentServer: a server that accepts a connection but sends nothing is
// unavailable at the deadline.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := mysql.New(mysql.Options{Hosts: []string{l.Addr().String()}, User: "u", DB: "d", Table: "new_mail", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Save(ctx, []*envelope.Envelope{storetest.Envelope(text, "b@example.com")})[0]; !errors.Is(err, savemail.ErrUnavailable) {
		t.Errorf("Save: %v, want ErrUnavailable", err)
	}
	if err := s.Check(ctx); !errors.Is(err, savemail.ErrUnavailable) {
		t.Errorf("Check: %v, want ErrUnavailable", err)
	}
}
