package logging

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

var errFull = errors.New("disk full")

// A scripted takes of each Write what the next answer says, and waits for it.
type scripted struct {
	text    strings.Builder
	answers chan int // bytes that a Write takes; at least its length: all, without an error
	closed  error    // what Close returns
}

func newScripted() *scripted { return &scripted{answers: make(chan int)} }

const all = 1 << 30

func (s *scripted) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n := <-s.answers
	if n >= len(b) {
		s.text.Write(b)
		return len(b), nil
	}
	s.text.Write(b[:n])
	return n, errFull
}

func (s *scripted) Close() error { return s.closed }

// log writes lines at once, and waits until the writer has taken them.
func (s *scripted) log(w *writer, text string, takes ...int) {
	w.Write([]byte(text))
	for _, n := range takes {
		s.answers <- n
	}
}

// dropped replaces the times of the lines that report lost lines.
func dropped(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "time="); ok {
			_, line, _ = strings.Cut(rest, " ")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// TestLostLines: lines that the disk does not take are counted, and the count is
// written before the next lines, on a line of its own.
func TestLostLines(t *testing.T) {
	const told, cause = `level=WARN msg="log lines dropped" lines=`, ` error="disk full"` + "\n"
	for _, tt := range []struct {
		name string
		do   func(*scripted, *writer)
		want string
	}{
		{"no failure", func(s *scripted, w *writer) {
			s.log(w, "a\nb\n", all)
			s.log(w, "c\n", all)
		}, "a\nb\nc\n"},
		{"nothing is taken", func(s *scripted, w *writer) {
			s.log(w, "a\nb\n", 0)
			s.log(w, "c\n", all, all)
		}, told + "2" + cause + "c\n"},
		{"some lines are taken", func(s *scripted, w *writer) {
			s.log(w, "a\nb\nc\n", 4)
			s.log(w, "d\n", all, all)
		}, "a\nb\n" + told + "1" + cause + "d\n"},
		{"a line is cut", func(s *scripted, w *writer) {
			s.log(w, "a\nbc\nd\n", 3)
			s.log(w, "e\n", all, all)
		}, "a\nb\n" + told + "2" + cause + "e\n"},
		{"the first line is cut after a byte", func(s *scripted, w *writer) {
			s.log(w, "ab\nc\n", 1)
			s.log(w, "d\n", all, all)
		}, "a\n" + told + "2" + cause + "d\n"},
		{"its report as well", func(s *scripted, w *writer) {
			s.log(w, "a\nbc\n", 3)
			s.log(w, "d\n", 4) // the end of the cut line, and "tim"
			s.log(w, "e\n", all, all)
		}, "a\nb\ntim\n" + told + "2" + cause + "e\n"},
		{"only the end of the cut line", func(s *scripted, w *writer) {
			s.log(w, "a\nbc\n", 3)
			s.log(w, "d\n", 1)
			s.log(w, "e\n", all, all)
		}, "a\nb\n" + told + "2" + cause + "e\n"},
		{"twice nothing after a cut line", func(s *scripted, w *writer) {
			s.log(w, "a\nbc\n", 3)
			s.log(w, "d\n", 0)
			s.log(w, "e\nf\n", 0)
			s.log(w, "g\n", all, all)
		}, "a\nb\n" + told + "4" + cause + "g\n"},
		{"the report is taken, its lines are not", func(s *scripted, w *writer) {
			s.log(w, "a\n", 0)
			s.log(w, "b\nc\n", all, 0)
			s.log(w, "d\n", all, all)
		}, told + "1" + cause + told + "2" + cause + "d\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScripted()
			w := newWriter(s)
			tt.do(s, w)
			if err := w.close(); err != nil {
				t.Error(err)
			}
			if got := dropped(s.text.String()); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// TestReplaceFull: a new file begins with the count of the lines that the old one has
// lost, and without the end of its last line.
func TestReplaceFull(t *testing.T) {
	full, next := newScripted(), newScripted()
	w := newWriter(full)
	full.log(w, "a\nbc\n", 3)
	w.replace(next)
	next.log(w, "d\n", all, all)
	if err := w.close(); err != nil {
		t.Error(err)
	}
	if got := dropped(next.text.String()); got != "level=WARN msg=\"log lines dropped\" lines=1 error=\"disk full\"\nd\n" {
		t.Errorf("got\n%s", got)
	}
}

// TestBuffered: what waits for a disk that hangs is bounded, and the lines beyond it
// are counted as soon as the disk takes lines again.
func TestBuffered(t *testing.T) {
	for lost, sizes := range map[int][]int{1: {1025, 1024}, 2: {1025, 1024, 1}} { // too long by one, just fits, too long
		s := newScripted()
		w := newWriter(s)
		w.Write([]byte("first\n"))
		s.hangs(w)
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
				case s.answers <- all:
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
		text := dropped(s.text.String())
		if !strings.HasPrefix(text, want) || strings.Count(text, "y") != 1023 ||
			!strings.HasSuffix(text, fmt.Sprintf("y\nlevel=WARN msg=\"log lines dropped\" lines=%d\n", lost)) {
			t.Errorf("%d bytes, the last: %q", len(text), text[max(0, len(text)-100):])
		}
	}
}

// hangs waits until the writer's goroutine has taken the buffer.
func (s *scripted) hangs(w *writer) {
	for {
		w.mu.Lock()
		empty := len(w.buf) == 0
		w.mu.Unlock()
		if empty {
			return
		}
	}
}

// TestClose: Close returns the error of the last lines, or of the file's close.
func TestClose(t *testing.T) {
	s := newScripted()
	w := newWriter(s)
	s.log(w, "a\n", 0)
	if err := w.close(); !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
	s = newScripted()
	s.closed = errFull
	if err := newWriter(s).close(); !errors.Is(err, errFull) {
		t.Errorf("error of the file's close: %v", err)
	}
}
