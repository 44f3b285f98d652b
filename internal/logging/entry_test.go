package logging

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// entry returns the entry of a record with these attributes.
func entry(t *testing.T, level slog.Level, message string, attrs ...slog.Attr) map[string][]string {
	t.Helper()
	return logged(t, func(log *slog.Logger) { log.LogAttrs(context.Background(), level, message, attrs...) })
}

// logged returns the entry that write logs.
func logged(t *testing.T, write func(*slog.Logger)) map[string][]string {
	t.Helper()
	var frames bytes.Buffer
	write(slog.New(newJournalHandler(&frames, slog.LevelDebug)))
	e, rest := cutFrame(frames.Bytes())
	if len(rest) > 0 {
		t.Fatalf("bytes after the entry: %q", rest)
	}
	return decode(t, e)
}

// decode reads an entry as systemd-journald does.
func decode(t *testing.T, e []byte) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	for len(e) > 0 {
		head, rest, ok := bytes.Cut(e, []byte("\n"))
		if !ok {
			t.Fatalf("field without a line end: %q", e)
		}
		name, value, ok := strings.Cut(string(head), "=")
		if !ok {
			n := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+n]), rest[8+n:]
			if rest[0] != '\n' {
				t.Fatalf("field %s of %d bytes is followed by %q", name, n, rest)
			}
			rest = rest[1:]
		}
		got[name] = append(got[name], value)
		e = rest
	}
	return got
}

// wantFields compares an entry with the expected fields and the identifier, which all
// entries have.
func wantFields(t *testing.T, got, want map[string][]string) {
	t.Helper()
	want = maps.Clone(want)
	want["SYSLOG_IDENTIFIER"] = []string{"goguerrillad"}
	for name := range want {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("%s is %q, want %q", name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is %q, want no such field", name, got[name])
		}
	}
}

func TestEntry(t *testing.T) {
	for _, tt := range []struct {
		name    string
		level   slog.Level
		message string
		attrs   []slog.Attr
		want    map[string][]string
	}{
		{"message accepted", slog.LevelInfo, "message accepted", []slog.Attr{
			slog.String("session", "s1"), slog.String("remote", "[2001:db8::1]:4321"),
			slog.String("helo", "mail.example.org"), slog.String("from", ""), slog.String("to", "a@example.com,b@example.com"),
			slog.Int64("size", 12), slog.String("hash", "aa,bb"), slog.String("reply", "250 2.0.0 OK: queued as aa"),
		}, map[string][]string{
			"PRIORITY": {"6"},
			"MESSAGE": {`message accepted session=s1 remote=[2001:db8::1]:4321 helo=mail.example.org from="" ` +
				`to=a@example.com,b@example.com size=12 hash=aa,bb reply="250 2.0.0 OK: queued as aa"`},
			"GOGUERRILLA_SESSION": {"s1"}, "GOGUERRILLA_REMOTE": {"2001:db8::1"}, "GOGUERRILLA_FROM": {""},
			"GOGUERRILLA_TO": {"a@example.com", "b@example.com"}, "GOGUERRILLA_SIZE": {"12"},
			"GOGUERRILLA_HASH": {"aa", "bb"}, "GOGUERRILLA_REPLY": {"250 2.0.0 OK: queued as aa"},
		}},
		{"hashes as a list", slog.LevelWarn, "commit outcome unknown", []slog.Attr{
			slog.Any("error", "x=y z"), slog.Any("hashes", []string{"aa", "bb"}),
		}, map[string][]string{
			"PRIORITY": {"4"}, "MESSAGE": {`commit outcome unknown error="x=y z" hashes="[aa bb]"`}, "GOGUERRILLA_HASH": {"aa", "bb"},
		}},
		{"hashes as a string", slog.LevelWarn, "m", []slog.Attr{slog.String("hashes", "aa")}, map[string][]string{
			"PRIORITY": {"4"}, "MESSAGE": {"m hashes=aa"}, "GOGUERRILLA_HASH": {"aa"},
		}},
		{"no attributes", slog.LevelError, "store unavailable", nil, map[string][]string{
			"PRIORITY": {"3"}, "MESSAGE": {"store unavailable"},
		}},
		{"no recipients", slog.LevelInfo, "", []slog.Attr{slog.String("to", ""), slog.String("hash", "")}, map[string][]string{
			"PRIORITY": {"6"}, "MESSAGE": {` to="" hash=""`},
		}},
		{"control characters in the message", slog.LevelDebug, "C: \x1b[2J\nPRIORITY=0", nil, map[string][]string{
			"PRIORITY": {"7"}, "MESSAGE": {`"C: \x1b[2J\nPRIORITY=0"`},
		}},
		{"line feed and quotes in values", slog.LevelInfo, "m", []slog.Attr{
			slog.String("from", "a\nPRIORITY=0"), slog.String("to", `"a,b"@example.com`), slog.String("remote", "@"),
		}, map[string][]string{
			"PRIORITY": {"6"}, "MESSAGE": {`m from="a\nPRIORITY=0" to="\"a,b\"@example.com" remote=@`},
			"GOGUERRILLA_FROM": {"a\nPRIORITY=0"}, "GOGUERRILLA_TO": {`"a,b"@example.com`}, "GOGUERRILLA_REMOTE": {"@"},
		}},
		{"back quotes", slog.LevelInfo, "m", []slog.Attr{slog.String("from", "`a`@example.org"), slog.String("session", "s")}, map[string][]string{
			"PRIORITY": {"6"}, "MESSAGE": {"m from=`a`@example.org session=s"},
			"GOGUERRILLA_FROM": {"`a`@example.org"}, "GOGUERRILLA_SESSION": {"s"},
		}},
		{"address", slog.LevelInfo, "m", []slog.Attr{slog.Any("remote", netip.MustParseAddrPort("192.0.2.1:25"))}, map[string][]string{
			"PRIORITY": {"6"}, "MESSAGE": {"m remote=192.0.2.1:25"}, "GOGUERRILLA_REMOTE": {"192.0.2.1"},
		}},
		{"no address", slog.LevelInfo, "m", []slog.Attr{slog.Any("remote", netip.AddrPort{})}, map[string][]string{
			"PRIORITY": {"6"}, "MESSAGE": {`m remote=""`}, "GOGUERRILLA_REMOTE": {""},
		}},
		{"groups", slog.LevelInfo, "m", []slog.Attr{
			slog.Group("", slog.String("session", "s")), slog.Group("g", slog.String("from", "a@example.org")),
		}, map[string][]string{
			"PRIORITY": {"6"}, "MESSAGE": {"m session=s g.from=a@example.org"}, "GOGUERRILLA_SESSION": {"s"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantFields(t, entry(t, tt.level, tt.message, tt.attrs...), tt.want)
		})
	}
}

// TestEntryOfDerivedLogger: the attributes of a derived logger are fields, but
// attributes in a group are not.
func TestEntryOfDerivedLogger(t *testing.T) {
	got := logged(t, func(log *slog.Logger) {
		log = log.With("session", "s", "x", 1)
		_ = log.With("session", "another")
		log.With("from", "a").WithGroup("").WithGroup("g").With("to", "b").Info("m", "hash", "aa")
	})
	wantFields(t, got, map[string][]string{
		"PRIORITY": {"6"}, "MESSAGE": {"m session=s x=1 from=a g.to=b g.hash=aa"},
		"GOGUERRILLA_SESSION": {"s"}, "GOGUERRILLA_FROM": {"a"},
	})
}

// TestLevel: a record below the level is not logged.
func TestLevel(t *testing.T) {
	var frames bytes.Buffer
	slog.New(newJournalHandler(&frames, slog.LevelWarn)).Info("m")
	if frames.Len() > 0 {
		t.Errorf("entry %q below the level", frames.Bytes())
	}
}

// TestLongMessage: the length of MESSAGE is bounded.
func TestLongMessage(t *testing.T) {
	for _, n := range []int{maxText - 1, maxText, maxText + 1, 3 * maxText} {
		text := strings.Repeat("x", n)
		got := entry(t, slog.LevelInfo, text)["MESSAGE"]
		if want := text[:min(n, maxText)]; len(got) != 1 || got[0] != want {
			t.Errorf("message of %d bytes: %d fields with %d bytes, want 1 with %d", n, len(got), len(strings.Join(got, "")), len(want))
		}
	}
}

// FuzzEntry: any message and any value from a client is one field of one entry.
func FuzzEntry(f *testing.F) {
	for _, s := range []string{"a@example.org", "", "\"", "`", "a b", "a=b", "\n", "\xff", "a\nPRIORITY=0\n"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, message, from string) {
		got := entry(t, slog.LevelInfo, message, slog.String("from", from), slog.String("session", "s"))
		wantFields(t, got, map[string][]string{
			"PRIORITY": {"6"}, "MESSAGE": got["MESSAGE"], "GOGUERRILLA_FROM": {from}, "GOGUERRILLA_SESSION": {"s"},
		})
		if len(got["MESSAGE"]) != 1 {
			t.Errorf("MESSAGE is %q, want one field", got["MESSAGE"])
		}
	})
}
