package logging

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

// line is what the log writes.
func line(level slog.Level, message string, attrs ...slog.Attr) string {
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})).
		LogAttrs(context.Background(), level, message, attrs...)
	return strings.TrimSuffix(b.String(), "\n")
}

// decode reads an entry as the journal does.
func decode(t *testing.T, e []byte) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	for len(e) > 0 {
		head, rest, ok := bytes.Cut(e, []byte("\n"))
		if !ok {
			t.Fatalf("no end of line: %q", e)
		}
		name, value, ok := strings.Cut(string(head), "=")
		if !ok {
			n := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+n]), rest[8+n:]
			if rest[0] != '\n' {
				t.Fatalf("%s does not end where it says: %q", name, rest)
			}
			rest = rest[1:]
		}
		got[name] = append(got[name], value)
		e = rest
	}
	return got
}

func TestEntry(t *testing.T) {
	for _, tt := range []struct {
		line string
		want map[string][]string
	}{
		{line(slog.LevelInfo, "message accepted", slog.String("session", "s1"), slog.String("remote", "[2001:db8::1]:4321"),
			slog.String("helo", "mail.example.org"), slog.String("from", ""), slog.String("to", "a@example.com,b@example.com"),
			slog.Int64("size", 12), slog.String("hash", "aa,bb"), slog.String("reply", "250 2.0.0 OK: queued as aa")),
			map[string][]string{
				"PRIORITY": {"6"},
				"MESSAGE": {`message accepted session=s1 remote=[2001:db8::1]:4321 helo=mail.example.org from="" ` +
					`to=a@example.com,b@example.com size=12 hash=aa,bb reply="250 2.0.0 OK: queued as aa"`},
				"GOGUERRILLA_SESSION": {"s1"}, "GOGUERRILLA_REMOTE": {"2001:db8::1"}, "GOGUERRILLA_FROM": {""},
				"GOGUERRILLA_TO": {"a@example.com", "b@example.com"}, "GOGUERRILLA_SIZE": {"12"},
				"GOGUERRILLA_HASH": {"aa", "bb"}, "GOGUERRILLA_REPLY": {"250 2.0.0 OK: queued as aa"},
			}},
		{line(slog.LevelWarn, "it is unknown", slog.Any("error", "x=y z"), slog.Any("hashes", []string{"aa", "bb"})),
			map[string][]string{"PRIORITY": {"4"}, "MESSAGE": {`it is unknown error="x=y z" hashes="[aa bb]"`}, "GOGUERRILLA_HASH": {"aa", "bb"}}},
		{line(slog.LevelError, "store unavailable"), map[string][]string{"PRIORITY": {"3"}, "MESSAGE": {"store unavailable"}}},
		{line(slog.LevelDebug, "C: \x1b[2J\nPRIORITY=0"), map[string][]string{"PRIORITY": {"7"}, "MESSAGE": {`"C: \x1b[2J\nPRIORITY=0"`}}},
		{line(slog.LevelInfo, "m", slog.String("from", "a\nPRIORITY=0"), slog.String("to", `"a,b"@example.com`), slog.String("remote", "@")),
			map[string][]string{"PRIORITY": {"6"}, "MESSAGE": {`m from="a\nPRIORITY=0" to="\"a,b\"@example.com" remote=@`},
				"GOGUERRILLA_FROM": {"a\nPRIORITY=0"}, "GOGUERRILLA_TO": {`"a,b"@example.com`}, "GOGUERRILLA_REMOTE": {"@"}}},
		{line(slog.LevelInfo, "m", slog.String("from", "`a`@example.org"), slog.String("session", "s")),
			map[string][]string{"PRIORITY": {"6"}, "MESSAGE": {"m from=`a`@example.org session=s"},
				"GOGUERRILLA_FROM": {"`a`@example.org"}, "GOGUERRILLA_SESSION": {"s"}}},
	} {
		tt.want["SYSLOG_IDENTIFIER"] = []string{"goguerrillad"}
		if got := decode(t, entry(tt.line)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s\n got %q\nwant %q", tt.line, got, tt.want)
		}
	}
}

// FuzzEntry: whatever a client says, the journal gets it as one field of one
// entry.
func FuzzEntry(f *testing.F) {
	for _, s := range []string{"a@example.org", "", "\"", "`", "a b", "a=b", "\n", "\xff", "a\nPRIORITY=0\n"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, message, from string) {
		got := decode(t, entry(line(slog.LevelInfo, message, slog.String("from", from), slog.String("session", "s"))))
		if !reflect.DeepEqual(got["GOGUERRILLA_FROM"], []string{from}) || !reflect.DeepEqual(got["PRIORITY"], []string{"6"}) ||
			!reflect.DeepEqual(got["GOGUERRILLA_SESSION"], []string{"s"}) || len(got["MESSAGE"]) != 1 || len(got) != 5 {
			t.Errorf("%q, %q: %q", message, from, got)
		}
	})
}
