package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// maxBuffered is the maximum size of the buffer in bytes, several thousand lines. If
// the disk or the reader of standard error blocks and the buffer is full, the writer
// drops further lines and counts them.
const maxBuffered = 1 << 20

// closeTime is how long close waits for a blocked output.
const closeTime = 2 * time.Second

const lostMessage = "log lines dropped"

// An output is the destination of a writer. It defines the form of a line.
type output interface {
	io.WriteCloser
	// count returns the number of lines that end in b.
	count(b []byte) int
	// lostLines returns a line that reports n lost lines; cause may be nil.
	lostLines(n int, cause error) []byte
}

// A textOutput is a file or a stream. Its lines are text and end with LF.
type textOutput struct{ io.WriteCloser }

func (textOutput) count(b []byte) int { return bytes.Count(b, []byte{'\n'}) }

func (textOutput) lostLines(n int, cause error) []byte {
	line := fmt.Appendf(nil, "time=%s level=WARN msg=%q lines=%d", time.Now().Format(time.RFC3339Nano), lostMessage, n)
	if cause != nil {
		line = fmt.Appendf(line, " error=%q", cause)
	}
	return append(line, '\n')
}

// A writer accepts lines without blocking. One goroutine writes them to the
// output, many lines in one call.
type writer struct {
	mu      sync.Mutex
	changed sync.Cond // signals a change of buf, next or closing
	buf     []byte
	dropped int
	next    output // if not nil, the goroutine closes out and continues with next
	closing bool

	// Used only by the goroutine until done is closed.
	out  output
	lost int   // lines that were not written and are not reported yet
	cut  bool  // out ends in the middle of a line
	err  error // of the last Write
	done chan struct{}
}

func newWriter(out output) *writer {
	w := makeWriter(out)
	go w.run()
	return w
}

// makeWriter returns a writer that keeps lines in its buffer until run is called.
func makeWriter(out output) *writer {
	w := &writer{out: out, done: make(chan struct{})}
	w.changed.L = &w.mu
	return w
}

// Write accepts one line. It never returns an error, since its callers could not
// handle the error.
func (w *writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing || len(w.buf)+len(line) > maxBuffered {
		w.dropped++
		return len(line), nil
	}
	w.buf = append(w.buf, line...)
	w.changed.Signal()
	return len(line), nil
}

// replace makes out the output of the lines in the buffer and of all further lines.
// The lines of both outputs must have the same form.
func (w *writer) replace(out output) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next != nil {
		w.next.Close()
	}
	w.next = out
	w.changed.Signal()
}

// close writes the lines in the buffer and closes the output.
func (w *writer) close() error {
	w.mu.Lock()
	w.closing = true
	w.changed.Signal()
	w.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-time.After(closeTime):
		return errors.New("write the last lines: timeout")
	}
}

// follow closes last and then starts w, which must come from makeWriter. The first
// line of w reports the lines that last has lost.
func (w *writer) follow(last *writer) {
	_ = last.close() // w reports the lost lines and their error
	select {
	case <-last.done:
		if last.lost > 0 {
			w.lost, w.err = last.lost, last.err
		}
	default: // last is blocked; its goroutine ends when the output no longer blocks
	}
	go w.run()
}

func (w *writer) run() {
	defer close(w.done)
	var spare []byte
	for {
		w.mu.Lock()
		for len(w.buf) == 0 && w.next == nil && !w.closing {
			w.changed.Wait()
		}
		lines, dropped, next, closing := w.buf, w.dropped, w.next, w.closing
		w.buf, w.dropped, w.next = spare[:0], 0, nil
		w.mu.Unlock()

		if next != nil {
			w.out.Close()
			w.out, w.cut = next, false
		}
		if len(lines) > 0 {
			w.write(lines)
		}
		spare = lines
		// The dropped lines are newer than lines, which filled the buffer.
		w.lost += dropped
		if w.lost > 0 && w.err == nil {
			w.write(nil)
		}
		if closing {
			if err := w.out.Close(); w.err == nil {
				w.err = err
			}
			return
		}
	}
}

// write writes a report of the lost lines, if there are any, and then lines.
func (w *writer) write(lines []byte) {
	var head []byte
	if w.cut {
		head = append(head, '\n')
	}
	if w.lost > 0 {
		head = append(head, w.out.lostLines(w.lost, w.err)...)
	}
	if len(head) > 0 {
		if n, err := w.out.Write(head); err != nil {
			w.cut = n > 0 && head[n-1] != '\n' || n == 0 && w.cut
			w.lost += w.out.count(lines)
			w.err = err
			return
		}
	}
	w.lost, w.cut = 0, false
	var n int
	if n, w.err = w.out.Write(lines); w.err != nil {
		w.lost = w.out.count(lines[n:])
		// The journal never cuts an entry, and an entry ends with LF as well.
		w.cut = n > 0 && lines[n-1] != '\n'
	}
}
