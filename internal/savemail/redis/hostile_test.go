package redis_test

import (
	"bufio"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

// TestHostileReplies: if the server at REDIS_HOST sends malformed replies, the inner
// store saves the messages and the process does not end.
func TestHostileReplies(t *testing.T) {
	for name, reply := range map[string]string{
		"array that overflows":            "*9000000000000000000\r\n",
		"array of 1 TiB":                  "*60000000000\r\n",
		"string that overflows":           "$9223372036854775807\r\n",
		"length that wraps":               "$99999999999999999999999999\r\n",
		"string beyond the memory":        "$200000000000000\r\n",
		"string of 2 GiB":                 "$2147483648\r\n",
		"negative":                        "$-5\r\n",
		"negative array":                  "*-5\r\n",
		"no number":                       "*\r\n",
		"arrays without end":              strings.Repeat("*1\r\n", 6_000_000),
		"arrays that grow":                strings.Repeat("*1000\r\n", 1000),
		"string in arrays":                "*2\r\n$1\r\na\r\n$200000000000000\r\n",
		"line without end":                "+" + strings.Repeat("a", 1<<20),
		"length without end":              "$" + strings.Repeat("0", 1<<20),
		"another protocol":                "HTTP/1.1 400 Bad Request\r\n\r\n",
		"string without CR LF at its end": "$1\r\nabcdefg\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			replied := make(chan struct{}, 1000)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						if _, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
							_, _ = conn.Write([]byte(reply))
							time.Sleep(100 * time.Millisecond)
							replied <- struct{}{}
						}
					}()
				}
			}()
			for _, inPlace := range []bool{false, true} {
				s := redis.New(&recorder{}, redis.Options{Host: l.Addr().String(), InPlace: inPlace, Expire: time.Hour, Log: slog.New(slog.DiscardHandler)})
				<-replied
				e := storetest.Envelope(text, "a@example.com")
				if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil || e.To[0].InRedis {
					t.Errorf("outcome %v, in Redis: %v, want nil and false", err, e.To[0].InRedis)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestCloseDuringProbe: the log reports no outage if Close interrupts the first
// probe.
func TestCloseDuringProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var log test.Log
	s := redis.New(&recorder{}, redis.Options{Host: l.Addr().String(), Log: log.Logger()})
	conn, err := l.Accept() // the test never replies
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if log.Count(unavailable) > 0 {
		t.Errorf("the log reports an outage:\n%s", log.String())
	}
}
