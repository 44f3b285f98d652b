package redis_test

import (
	"bufio"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// TestReplies: the client accepts a reply within the limits, even if it arrives in
// pieces. After a reply beyond the limits the client closes the connection.
func TestReplies(t *testing.T) {
	length := func(n int) string { return strings.Repeat("0", n-1) + "1" }
	text := func(n int) string { return strings.Repeat("a", n) }
	for name, tt := range map[string]struct {
		ping string // the reply to PING
		ok   bool
	}{
		"simple":                     {"+PONG\r\n", true},
		"number":                     {":1\r\n", true},
		"null":                       {"$-1\r\n", true},
		"null array":                 {"*-1\r\n", true},
		"below null":                 {"$-2\r\n", false},
		"array below null":           {"*-2\r\n", false},
		"empty":                      {"$0\r\n\r\n", true},
		"empty array":                {"*0\r\n", true},
		"mixed":                      {"*5\r\n$0\r\n\r\n$-1\r\n*0\r\n*-1\r\n$3\r\na\r\n\r\n", true},
		"nested":                     {"*2\r\n*2\r\n:1\r\n*1\r\n$1\r\na\r\n+b\r\n", true},
		"line end of LF":             {"$1\na\r\n", false},
		"no length":                  {"$\n", false},
		"no array length":            {"*\n", false},
		"length of 20 bytes":         {"$" + length(20) + "\r\na\r\n", true},
		"length of 21 bytes":         {"$" + length(21) + "\r\na\r\n", false},
		"array length of 20 bytes":   {"*" + length(20) + "\r\n:1\r\n", true},
		"array length of 21 bytes":   {"*" + length(21) + "\r\n:1\r\n", false},
		"1 MiB":                      {"$1048576\r\n" + text(1<<20) + "\r\n", true},
		"1 MiB and a byte":           {"$1048577\r\n" + text(1<<20+1) + "\r\n", false},
		"1 MiB in strings":           {"*2\r\n$1048575\r\n" + text(1<<20-1) + "\r\n$1\r\na\r\n", true},
		"more than 1 MiB together":   {"*2\r\n$1048575\r\n" + text(1<<20-1) + "\r\n$2\r\naa\r\n", false},
		"10000 items":                {"*10000\r\n" + strings.Repeat(":1\r\n", 10_000), true},
		"10001 items":                {"*10001\r\n" + strings.Repeat(":1\r\n", 10_001), false},
		"10000 items in arrays":      {"*1\r\n*9999\r\n" + strings.Repeat(":1\r\n", 9999), true},
		"10001 items in arrays":      {"*1\r\n*10000\r\n" + strings.Repeat(":1\r\n", 10_000), false},
		"8 arrays inside each other": {strings.Repeat("*1\r\n", 8) + ":1\r\n", true},
		"9 arrays inside each other": {strings.Repeat("*1\r\n", 9) + ":1\r\n", false},
		"8 arrays, one of two items": {strings.Repeat("*1\r\n", 7) + "*2\r\n:1\r\n:2\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go reply(conn, tt.ping)
				}
			}()
			f := &fixture{t: t, server: &servers.RedisServer{Addr: l.Addr().String()}, inner: &recorder{}}
			f.open(func(o *redis.Options) { o.Host = l.Addr().String() })
			test.Await(t, nil, 10*time.Second, "the client neither connects nor reports an outage", func() error {
				if f.log.Count(unavailable)+f.log.Count(connected) == 0 {
					return errors.New(f.log.String())
				}
				return nil
			})
			if ok := f.log.Count(connected) == 1; ok != tt.ok {
				t.Errorf("accepted: %v, want %v, log:\n%s", ok, tt.ok, f.log.String())
			}
		})
	}
}

// reply replies to PING, INFO and CONFIG. It sends the first 30 bytes of the reply to
// PING one by one.
func reply(conn net.Conn, ping string) {
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		rest := ""
		switch strings.TrimSpace(line) {
		case "PING":
			for range min(len(ping), 30) {
				conn.Write([]byte(ping[:1]))
				ping = ping[1:]
			}
			rest = ping
		case "INFO":
			rest = "$1048576\r\n" + strings.Repeat("a", 1<<20) + "\r\n" // the limit applies to each reply
		case "CONFIG":
			rest = "*0\r\n"
		}
		if _, err := conn.Write([]byte(rest)); err != nil {
			return
		}
	}
}
