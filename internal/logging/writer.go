package logging

import (
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

	out  io.WriteCloser // of the goroutine alone
	done chan struct{}
	err  error // the last one of out, of the goroutine until done
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
			w.out = next
		}
		if dropped > 0 {
			lines = fmt.Appendf(lines, "time=%s level=WARN msg=\"log lines dropped\" lines=%d\n",
				time.Now().Format(time.RFC3339Nano), dropped)
		}
		if len(lines) > 0 {
			_, w.err = w.out.Write(lines)
		}
		spare = lines
		if closing {
			w.out.Close()
			return
		}
	}
}
