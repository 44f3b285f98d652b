package smtpd

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/smtp"
)

// inbox is the queue of a loop's notes. Other goroutines post the outcomes of
// messages, the results of recipient lookups, grants of memory, the results of
// TLS handshakes and the server's commands. Each session waits for at most one
// note, so the number of sessions and of commands bounds the queue.
type inbox struct {
	mu     sync.Mutex
	notes  []note
	asleep bool   // the loop blocks in epoll_wait, or is about to: post must write to wakeFD
	wakeFD int    // eventfd, watched edge-triggered, so that it needs no read; -1 if closed
	spare  []note // the previous slice of receive, for reuse
}

// note is an event from outside the loop.
type note struct {
	kind noteKind
	conn *conn
	err  error
	run  func(*loop) // for noteCommand

	refusal *smtp.Reply // for noteChecked
}

type noteKind uint8

const (
	noteCommand   noteKind = iota // call run
	noteSaved                     // err is the outcome of conn's message
	noteChecked                   // refusal is the reply if conn's recipient was refused, else nil
	noteMemory                    // the budget granted memory to conn
	noteHandshake                 // err is the result of conn's TLS handshake
)

func newEventFD() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("create eventfd: %w", err)
	}
	return fd, nil
}

// post adds a note. It wakes the loop only if it sleeps; a busy loop receives
// its notes in each round.
func (b *inbox) post(n note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wakeFD < 0 {
		return // the loop has ended
	}
	b.notes = append(b.notes, n)
	if b.asleep {
		b.asleep = false
		one := [8]byte{1} // any value but 0, in any byte order
		// It fails only if the eventfd's counter is full, and then the loop wakes.
		_, _ = unix.Write(b.wakeFD, one[:])
	}
}

// sleep records that the loop is about to block. It returns false if there are
// notes to handle first.
func (b *inbox) sleep() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = len(b.notes) == 0
	return b.asleep
}

// receive removes and returns all notes. The slice is valid until the next call.
func (b *inbox) receive() []note {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = false
	notes := b.notes
	clear(b.spare)
	b.notes, b.spare = b.spare[:0], notes
	return notes
}

// close closes the eventfd. Notes that are posted later are ignored.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wakeFD >= 0 {
		unix.Close(b.wakeFD)
	}
	b.wakeFD = -1
}
