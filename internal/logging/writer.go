package logging

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// maxBuffered bounds what waits to be written, in bytes: some thousand lines.
// What comes beyond it, because the disk or the reader of standard error is
// stuck, is dropped and counted.
const maxBuffered = 1 << 20

// A writer takes lines without ever blocking; one goroutine writes them, many
// at a time.
type writer struct {
	mu      sync.Mutex
	changed sync.Cond // on buf, next, closing
	buf     []byte
	dropped int
	next    io.WriteCloser // to go on with
	closing bool

	// Of the goroutine alone, until done.
	out  io.WriteCloser
	lost int   // lines that out did not take, not yet told of
	cut  bool  // out ends in the middle of a line
	err  error // the last one of out
	done chan struct{}
}

func newWriter(out io.WriteCloser) *writer {
	w := &writer{out: out, done: make(chan struct{})}
	w.changed.L = &w.mu
	go w.run()
	return w
}

// Write takes one line. It never fails: nobody who logs could do anything
// about it.
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

// replace has what comes from now on written to out. What is still to be
// written goes there as well.
func (w *writer) replace(out io.WriteCloser) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next != nil {
		w.next.Close()
	}
	w.next = out
	w.changed.Signal()
}

// closeTime bounds the wait for a reader that is stuck.
const closeTime = 2 * time.Second

// close writes what is left.
func (w *writer) close() error {
	w.mu.Lock()
	w.closing = true
	w.changed.Signal()
	w.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-time.After(closeTime):
		return fmt.Errorf("close the log: nobody takes its last lines")
	}
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
		// They came when the buffer was full of the lines above.
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

// write writes lines, behind the number of those that were lost before them.
func (w *writer) write(lines []byte) {
	var head []byte
	if w.cut {
		head = append(head, '\n')
	}
	if w.lost > 0 {
		head = fmt.Appendf(head, "time=%s level=WARN msg=\"log lines dropped\" lines=%d",
			time.Now().Format(time.RFC3339Nano), w.lost)
		if w.err != nil {
			head = fmt.Appendf(head, " error=%q", w.err)
		}
		head = append(head, '\n')
	}
	if len(head) > 0 {
		if n, err := w.out.Write(head); err != nil {
			w.cut = n > 0 && head[n-1] != '\n' || n == 0 && w.cut
			w.lost += bytes.Count(lines, []byte{'\n'})
			w.err = err
			return
		}
	}
	w.lost, w.cut = 0, false
	var n int
	if n, w.err = w.out.Write(lines); w.err != nil {
		w.lost = bytes.Count(lines[n:], []byte{'\n'})
		w.cut = n > 0 && lines[n-1] != '\n'
	}
}
