package smtpd

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/smtp"
)

// inbox is how everything outside a loop speaks to it: the saver with
// outcomes, the recipients with answers, the budget with room, shakes of hands, the server with commands.
// Its length is bounded by the loop's sessions, each of which waits for one
// note at most, and a few commands.
type inbox struct {
	mu     sync.Mutex
	notes  []note
	asleep bool // the loop blocks, or is about to: write to bell
	bell   int  // eventfd; edge-triggered, so that nobody has to read it; -1 when closed
	spare  []note
}

// note is one thing that the loop is told.
type note struct {
	kind noteKind
	conn *conn
	err  error
	run  func(*loop) // for noteCommand

	refusal *smtp.Reply // for noteChecked
}

type noteKind uint8

const (
	noteCommand noteKind = iota // run run
	noteSaved                   // err is the outcome of conn's message
	noteChecked                 // refusal is what conn's recipient meets, nil for none
	noteRoom                    // there is memory for conn
	noteShaken                  // err is the outcome of conn's TLS handshake
)

func newBell() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("create an eventfd: %w", err)
	}
	return fd, nil
}

// post leaves a note. Only a loop that sleeps is woken: under load it looks by
// itself in each round.
func (b *inbox) post(n note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bell < 0 {
		return // the loop has ended
	}
	b.notes = append(b.notes, n)
	if b.asleep {
		b.asleep = false
		one := [8]byte{1} // any value but 0, whatever the byte order
		// It fails only when the counter is full, and then the bell has rung.
		_, _ = unix.Write(b.bell, one[:])
	}
}

// sleep announces that the loop is about to block. It returns false when there
// are notes to read first.
func (b *inbox) sleep() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = len(b.notes) == 0
	return b.asleep
}

// take returns all notes; the slice is valid until the next call.
func (b *inbox) take() []note {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = false
	notes := b.notes
	clear(b.spare)
	b.notes, b.spare = b.spare[:0], notes
	return notes
}

// close ends the inbox: what is posted later is dropped.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bell >= 0 {
		unix.Close(b.bell)
	}
	b.bell = -1
}
