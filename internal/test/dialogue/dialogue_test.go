package dialogue_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"goguerrillad/internal/test/dialogue"
)

const good = `# a greeting, two commands in one write, half a command in another
set max-size 5
set hosts example.com
S: 220 {any}
C: NOOP
C raw*2: x\x00"\n
--
C raw: y
S: 250 2.0.0 {hash} {n}
C close
S close
from a@example.org
to b@example.com
to c@example.com
| one
raw*2| \r.
`

// server replies to each write with its next line.
type server struct {
	lines  []string
	writes []string
	closed bool
	out    string
}

func (s *server) Write(b []byte) (int, error) {
	s.writes = append(s.writes, string(b))
	s.next()
	return len(b), nil
}

func (s *server) next() {
	if len(s.lines) > 0 {
		s.out += s.lines[0]
		s.lines = s.lines[1:]
	}
}

func (s *server) Read(b []byte) (int, error) {
	if s.out == "" {
		if s.closed {
			return 0, io.EOF
		}
		return 0, errors.New("no input within the timeout")
	}
	n := copy(b, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *server) CloseWrite() error {
	s.closed = true
	return nil
}

// recorder records failures instead of failing the test.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) { r.failed += fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

func run(t *testing.T, s *server, stored ...dialogue.Message) (failed string) {
	t.Helper()
	script, err := dialogue.Parse("good", good)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != any(r) {
			panic(p)
		}
		failed = r.failed
	}()
	s.next()
	script.Run(r, s, dialogue.Options{Stored: func() []dialogue.Message { return stored }})
	return r.failed
}

func TestRun(t *testing.T) {
	hash := strings.Repeat("0f", 16)
	replies := []string{"220 hello\r\n", "250 2.0.0 " + hash, " 17\r\n"}
	stored := dialogue.Message{From: "a@example.org", To: []string{"b@example.com", "c@example.com"}, Text: []byte("one\r\n\r.\r.")}

	s := &server{lines: replies}
	if failed := run(t, s, stored); failed != "" {
		t.Error(failed)
	}
	if got, want := fmt.Sprintf("%q", s.writes), `["NOOP\r\nx\x00\"\nx\x00\"\n" "y"]`; got != want {
		t.Errorf("writes are %s, want %s", got, want)
	}

	for _, tt := range []struct {
		name    string
		replies []string
		stored  dialogue.Message
		want    string
	}{
		{"greeting", []string{"421 full\r\n"}, stored, "good.txt:4: got"},
		{"no hash", []string{"220 hello\r\n", "", "250 2.0.0 ABC 17\r\n"}, stored, "good.txt:9: got"},
		{"more on the line", []string{"220 hello\r\n", "", "250 2.0.0 " + hash + " 17x\r\n"}, stored, "good.txt:9: got"},
		{"bare LF", []string{"220 hello\n"}, stored, "good.txt:4: got"},
		{"no reply", []string{"220 hello\r\n"}, stored, "good.txt:9: got"},
		{"more than expected", append(replies[:2:2], " 17\r\n250 more\r\n"), stored, "good.txt:11: got"},
		{"sender", replies, dialogue.Message{To: stored.To, Text: stored.Text}, `is from ""`},
		{"recipients", replies, dialogue.Message{From: stored.From, To: stored.To[:1], Text: stored.Text}, `to ["b@example.com"]`},
		{"text", replies, dialogue.Message{From: stored.From, To: stored.To, Text: []byte("one\r\n\r.\r")}, "is 8 bytes, want 9; at 8"},
	} {
		if got := run(t, &server{lines: tt.replies}, tt.stored); !strings.Contains(got, tt.want) {
			t.Errorf("%s: failed with %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := run(t, &server{lines: replies}); !strings.Contains(got, "0 messages stored, want 1") {
		t.Errorf("no message stored: failed with %q", got)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"# x\nNOOP":              `x.txt:2: unknown line "NOOP"`,
		"C NOOP":                 "unknown line",
		"C raw NOOP":             "does not contain",
		"C raw*x: NOOP":          "count",
		`C raw: \q`:              "escapes",
		"set colour blue":        "unknown setting",
		"set max-size many":      "many",
		"to a@example.com":       "unknown line",
		"from a@example.com\nx":  "unknown line",
		"from a@example.com\nr|": "unknown line",
	} {
		if _, err := dialogue.Parse("x", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): error %v, want %q", text, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	scripts, err := dialogue.Load(fstest.MapFS{"b.txt": {Data: []byte(good)}, "a.txt": {}, "fuzz/x": {}})
	if err != nil || len(scripts) != 2 || scripts[1].Name != "b" || scripts[1].Settings.MaxSize != 5 {
		t.Errorf("Load: %v, error %v, want the scripts a and b", scripts, err)
	}
	if _, err := dialogue.Load(fstest.MapFS{}); err == nil {
		t.Error("Load of an empty directory: no error")
	}
	if _, err := dialogue.Load(fstest.MapFS{"a.txt": {Data: []byte("x")}}); err == nil {
		t.Error("Load of an invalid file: no error")
	}
}

func TestHosts(t *testing.T) {
	hosts := dialogue.Hosts{"example.com", "*.example.net"}
	for domain, want := range map[string]bool{
		"example.com": true, "EXAMPLE.com": true, "sub.example.com": false, "a.b.example.net": true, "example.net": false, ".example.net": false, "": false,
	} {
		if hosts.Match(domain) != want {
			t.Errorf("Match(%q) = %v, want %v", domain, !want, want)
		}
	}
}
