package logging

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// journalSocket is where the journal takes entries with fields of their own
// (systemd.io, "Native Journal Protocol").
const journalSocket = "/run/systemd/journal/socket"

// fieldPrefix begins the names of our fields. They are
//
//	HASH     of each recipient's row, one field each
//	TO       each recipient, one field each
//	FROM     the reverse-path, empty for the null sender
//	REMOTE   the client's address, without port
//	SESSION  the id of its session
//	SIZE     bytes of the message
//	REPLY    what the client was told
const fieldPrefix = "GOGUERRILLA_"

// A journal takes lines of the log and hands each to the journal as an entry:
// its level as PRIORITY, what can be searched for as fields, and all of it as
// text. The protocol is spoken here and not by go-systemd's journal package,
// whose fields are a map: a message for two recipients has two hashes.
type journal struct {
	path   string // of its socket
	socket *net.UnixConn
}

// connectJournal connects to the journal if a stream of ours is one of its own
// (systemd.exec(5), $JOURNAL_STREAM); else, or where it takes no entries, the
// result is nil.
func connectJournal(stream *os.File) *journal {
	j := &journal{path: journalSocket}
	if !toJournal(stream) || j.dial() != nil {
		return nil
	}
	return j
}

// UnderJournal reports whether standard error is a stream of the journal's.
func UnderJournal() bool { return toJournal(os.Stderr) }

func toJournal(stream *os.File) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(stream.Fd()), &st); err != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

func (j *journal) dial() (err error) {
	j.socket, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: j.path})
	return err
}

// Write hands over whole lines.
func (j *journal) Write(lines []byte) (int, error) {
	n := 0
	for line := range strings.Lines(string(lines)) {
		if err := j.send(entry(strings.TrimSuffix(line, "\n"))); err != nil {
			return n, err
		}
		n += len(line)
	}
	return n, nil
}

// send connects anew where the journal has been started anew.
func (j *journal) send(e []byte) error {
	_, err := j.socket.Write(e)
	if err == nil {
		return nil
	}
	old := j.socket
	if j.dial() != nil {
		j.socket = old
		return err
	}
	old.Close()
	_, err = j.socket.Write(e)
	return err
}

func (j *journal) Close() error { return j.socket.Close() }

// maxText bounds the text of an entry, in bytes: a datagram takes about 200 kB,
// and no line of ours is nearly as long but for those of a dialogue.
const maxText = 32 << 10

// entry makes an entry of a line as slog.TextHandler writes it.
func entry(line string) []byte {
	e := []byte("SYSLOG_IDENTIFIER=goguerrillad\n")
	var text strings.Builder
	for {
		var key, value, raw string
		if key, value, raw, line = cutPair(line); key == "" {
			break
		}
		switch key {
		case "time":
			continue // the journal has its own
		case "level":
			e = fmt.Appendf(e, "PRIORITY=%d\n", priority(value))
			continue
		case "msg":
			text.WriteString(printable(value, raw))
			continue
		}
		fmt.Fprintf(&text, " %s=%s", key, raw)
		for _, f := range fields(key, value) {
			e = appendField(e, fieldPrefix+f.name, f.value)
		}
	}
	message := text.String()
	return appendField(e, "MESSAGE", message[:min(len(message), maxText)])
}

// printable is the text of a message; where it had to be escaped, it stays so.
func printable(value, raw string) string {
	if raw == `"`+value+`"` {
		return value
	}
	return raw
}

type field struct{ name, value string }

// fields are those that a pair of the log makes.
func fields(key, value string) []field {
	switch key {
	case "session", "from", "size", "reply":
		return []field{{strings.ToUpper(key), value}}
	case "remote":
		if host, _, err := net.SplitHostPort(value); err == nil {
			value = host
		}
		return []field{{"REMOTE", value}}
	case "hash":
		return each("HASH", strings.Split(value, ","))
	case "to":
		if strings.Contains(value, `"`) {
			return each("TO", []string{value}) // a comma need not be between two
		}
		return each("TO", strings.Split(value, ","))
	case "hashes":
		return each("HASH", strings.Fields(strings.Trim(value, "[]")))
	}
	return nil
}

func each(name string, values []string) []field {
	var list []field
	for _, v := range values {
		if v != "" {
			list = append(list, field{name, v})
		}
	}
	return list
}

// priority is the level for syslog(3).
func priority(level string) int {
	switch level {
	case "ERROR":
		return 3
	case "WARN":
		return 4
	case "DEBUG":
		return 7
	}
	return 6
}

// appendField appends a field; a line break in its value needs the form with
// a length.
func appendField(e []byte, name, value string) []byte {
	if !strings.Contains(value, "\n") {
		return append(e, name+"="+value+"\n"...)
	}
	e = append(e, name+"\n"...)
	e = binary.LittleEndian.AppendUint64(e, uint64(len(value)))
	return append(e, value+"\n"...)
}

// cutPair takes the first pair off a line: its value, and that as it stands
// there, quoted if it has to be. The key is "" behind the last.
func cutPair(line string) (key, value, raw, rest string) {
	key, rest, ok := strings.Cut(line, "=")
	if !ok {
		return "", "", "", ""
	}
	raw, _, _ = strings.Cut(rest, " ")
	value = raw
	if strings.HasPrefix(rest, `"`) {
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			raw = quoted
			value, _ = strconv.Unquote(raw) // it is quoted
		}
	}
	return key, value, raw, strings.TrimPrefix(rest[len(raw):], " ")
}
