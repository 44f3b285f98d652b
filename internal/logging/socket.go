package logging

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// journalSocket is the socket at which systemd-journald receives entries.
const journalSocket = "/run/systemd/journal/socket"

// A journal is an output that sends entries to systemd-journald. A line of this
// output is a frame: the length of an entry, then the entry.
type journal struct {
	path   string // of the socket
	socket *net.UnixConn
}

// connectJournal connects to the journal if stream is connected to it, else it
// returns nil. It also returns nil if systemd-journald does not accept the connection.
func connectJournal(stream *os.File) *journal {
	j := &journal{path: journalSocket}
	if !toJournal(stream) || j.dial() != nil {
		return nil
	}
	return j
}

// UnderJournal reports whether standard error is connected to the journal
// (systemd.exec(5), $JOURNAL_STREAM).
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

// gatherTime is the pause after journal.Write has sent entries. Meanwhile systemd-journald has no
// reason to wake up: two switches between processes for each entry would cost more than the entry.
const gatherTime = 5 * time.Millisecond

// Write sends each entry in frames as one datagram, and then waits for gatherTime.
func (j *journal) Write(frames []byte) (int, error) {
	rest := frames
	for len(rest) > 0 {
		entry, next := cutFrame(rest)
		if err := j.send(entry); err != nil {
			return len(frames) - len(rest), err
		}
		rest = next
	}
	time.Sleep(gatherTime)
	return len(frames), nil
}

// send sends an entry. After an error it connects again and retries once, since
// systemd-journald may have been restarted.
func (j *journal) send(entry []byte) error {
	_, err := j.socket.Write(entry)
	if err == nil {
		return nil
	}
	old := j.socket
	if j.dial() != nil {
		j.socket = old
		return err
	}
	old.Close()
	_, err = j.socket.Write(entry)
	return err
}

func (j *journal) Close() error { return j.socket.Close() }

func (j *journal) count(frames []byte) int {
	n := 0
	for ; len(frames) > 0; n++ {
		_, frames = cutFrame(frames)
	}
	return n
}

func (j *journal) lostLines(n int, cause error) []byte {
	message := fmt.Sprintf("%s lines=%d", lostMessage, n)
	if cause != nil {
		message += fmt.Sprintf(" error=%q", cause)
	}
	return endFrame(appendField(appendPriority(beginFrame(nil), slog.LevelWarn), "MESSAGE", message))
}

// beginFrame appends a header, behind which an entry is appended. endFrame sets it.
func beginFrame(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

func endFrame(frame []byte) []byte {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-frameHeader))
	return frame
}

const frameHeader = 4 // bytes

// cutFrame returns the entry of the first frame, and the frames after it.
func cutFrame(frames []byte) (entry, rest []byte) {
	end := frameHeader + int(binary.LittleEndian.Uint32(frames))
	return frames[frameHeader:end], frames[end:]
}
