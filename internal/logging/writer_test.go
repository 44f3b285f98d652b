package logging

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

var errFull = errors.New("disk full")

// A scripted is a file. Each Write waits for the next value in accepts and accepts
// that number of bytes.
type scripted struct {
	text     strings.Builder
	accepts  chan int
	closeErr error
}

func newScripted() *scripted { return &scripted{accepts: make(chan int)} }

// all makes a Write accept all bytes, without an error.
const all = 1 << 30

func (s *scripted) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n := <-s.accepts
	if n >= len(b) {
		s.text.Write(b)
		return len(b), nil
	}
	s.text.Write(b[:n])
	return n, errFull
}

func (s *scripted) Close() error { return s.closeErr }

// log puts lines into the buffer with one Write. It returns when the file has accepted
// the given numbers of bytes, one number in each Write.
func (s *scripted) log(w *writer, text string, accepts ...int) {
	w.Write([]byte(text))
	for _, n := range accepts {
		s.accepts <- n
	}
}

// withoutTimes removes the times from the lines that report lost lines.
func withoutTimes(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "time="); ok {
			_, line, _ = strings.Cut(rest, " ")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// TestLostLines: the writer counts the lines that could not be written, and writes a
// line with their number before the next lines.
func TestLostLines(t *testing.T) {
	const report, cause = `level=WARN msg="log lines dropped" lines=`, ` error="disk full"` + "\n"
	for _, tt := range []struct {
		name string
		do   func(*scripted, *writer)
		want string
	}{
		{"no failure", func(s *scripted, w *writer) {
			s.log(w, "a\nb\n", all)
			s.log(w, "c\n", all)
		}, "a\nb\nc\n"},
		{"nothing is written", func(s *scripted, w *writer) {
			s.log(w, "a\nb\n", 0)
			s.log(w, "c\n", all, all)
		}, report + "2" + cause + "c\n"},
		{"some lines are written", func(s *scripted, w *writer) {
			s.log(w, "a\nb\nc\n", 4)
			s.log(w, "d\n", all, all)
		}, "a\nb\n" + report + "1" + cause + "d\n"},
		{"a line is cut", func(s *scripted, w *writer) {
			s.log(w, "a\nbc\nd\n", 3)
			s.log(w, "e\n", all, all)
		}, "a\nb\n" + report + "2" + cause + "e\n"},
		{"the first line is cut after a byte", func(s *scripted, w *writer) {
			s.log(w, "ab\nc\n", 1)
			s.log(w, "d\n", all, all)
		}, "a\n" + report + "2" + cause + "d\n"},
		{"a line and its report are cut", func(s *scripted, w *writer) {
			s.log(w, "a\nbc\n", 3)
			s.log(w, "d\n", 4) // the end of the cut line, and "tim"
			s.log(w, "e\n", all, all)
		}, "a\nb\ntim\n" + report + "2" + cause + "e\n"},
		{"only the line end of the cut line is written", func(s *scripted, w *writer) {
			s.log(w, "a\nbc\n", 3)
			s.log(w, "d\n", 1)
			s.log(w, "e\n", all, all)
		}, "a\nb\n" + report + "2" + cause + "e\n"},
		{"twice nothing after a cut line", func(s *scripted, w *writer) {
			s.log(w, "a\nbc\n", 3)
			s.log(w, "d\n", 0)
			s.log(w, "e\nf\n", 0)
			s.log(w, "g\n", all, all)
		}, "a\nb\n" + report + "4" + cause + "g\n"},
		{"the report is written, the lines after it are not", func(s *scripted, w *writer) {
			s.log(w, "a\n", 0)
			s.log(w, "b\nc\n", all, 0)
			s.log(w, "d\n", all, all)
		}, report + "1" + cause + report + "2" + cause + "d\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScripted()
			w := newWriter(textOutput{s})
			tt.do(s, w)
			if err := w.close(); err != nil {
				t.Error(err)
			}
			if got := withoutTimes(s.text.String()); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// TestReplaceFull: a new file starts with the report of the lines that the old file has
// lost, although the last line of the old file is cut.
func TestReplaceFull(t *testing.T) {
	full, next := newScripted(), newScripted()
	w := newWriter(textOutput{full})
	full.log(w, "a\nbc\n", 3)
	w.replace(textOutput{next})
	next.log(w, "d\n", all, all)
	if err := w.close(); err != nil {
		t.Error(err)
	}
	const want = "level=WARN msg=\"log lines dropped\" lines=1 error=\"disk full\"\nd\n"
	if got := withoutTimes(next.text.String()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestBufferFull: the buffer is bounded while the disk is blocked. The writer counts
// further lines, and reports them when the disk accepts lines again.
func TestBufferFull(t *testing.T) {
	for lost, sizes := range map[int][]int{1: {1025, 1024}, 2: {1025, 1024, 1}} { // 1024 bytes of the buffer are free
		s := newScripted()
		w := newWriter(textOutput{s})
		w.Write([]byte("first\n"))
		waitTaken(w)
		for range maxBuffered/1024 - 1 {
			w.Write([]byte(strings.Repeat("x", 1023) + "\n"))
		}
		for _, size := range sizes {
			w.Write([]byte(strings.Repeat("y", size-1) + "\n"))
		}
		ended := make(chan struct{})
		go func() {
			for {
				select {
				case s.accepts <- all:
				case <-ended:
					return
				}
			}
		}()
		if err := w.close(); err != nil {
			t.Error(err)
		}
		close(ended)
		want := "first\n" + strings.Repeat("x", 1023)
		text := withoutTimes(s.text.String())
		if !strings.HasPrefix(text, want) || strings.Count(text, "y") != 1023 ||
			!strings.HasSuffix(text, fmt.Sprintf("y\nlevel=WARN msg=\"log lines dropped\" lines=%d\n", lost)) {
			t.Errorf("log of %d bytes that ends with %q, want %d lost lines", len(text), text[max(0, len(text)-100):], lost)
		}
	}
}

// waitTaken waits until the writer's goroutine has taken the lines from the buffer.
func waitTaken(w *writer) {
	for {
		w.mu.Lock()
		empty := len(w.buf) == 0
		w.mu.Unlock()
		if empty {
			return
		}
	}
}

// TestClose: close returns the error of the last Write, or of the output's Close.
func TestClose(t *testing.T) {
	s := newScripted()
	w := newWriter(textOutput{s})
	s.log(w, "a\n", 0)
	if err := w.close(); !errors.Is(err, errFull) {
		t.Errorf("error %v, want %v", err, errFull)
	}
	s = newScripted()
	s.closeErr = errFull
	if err := newWriter(textOutput{s}).close(); !errors.Is(err, errFull) {
		t.Errorf("error of Close is %v, want %v", err, errFull)
	}
}

// TestGather: an entry for the journal is sent at once, and the entries of the next 5 ms together.
func TestGather(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	receiver, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(receiver)
	if err := unix.Bind(receiver, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	received := func() (entries []string) {
		for b := make([]byte, 100); ; {
			n, err := unix.Read(receiver, b)
			if err != nil {
				return entries
			}
			entries = append(entries, string(b[:n]))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		j := &journal{path: path}
		if err := j.dial(); err != nil {
			t.Fatal(err)
		}
		w := newWriter(j)
		for _, entry := range []string{"first", "second", "third"} {
			w.Write(endFrame(append(beginFrame(nil), entry...)))
			synctest.Wait()
		}
		if got := received(); !slices.Equal(got, []string{"first"}) {
			t.Errorf("entries %q, want the first", got)
		}
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		if got := received(); !slices.Equal(got, []string{"second", "third"}) {
			t.Errorf("after 5 ms entries %q, want the second and the third", got)
		}
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
}
