// Package savemail is the seam between the daemon and the databases. A Store
// commits batches of envelopes, a Reader reads stored messages, and a Driver
// configures and opens one kind of store. To add a store, implement Driver and
// Store in a package of its own and add it to the list in package stores.
package savemail

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"goguerrillad/internal/envelope"
)

// A Store makes envelopes durable. The tests in package storetest check the
// contract of an implementation.
type Store interface {
	// Save stores the batch in one transaction: an envelope for n recipients as
	// n rows, all or none. It returns one error per envelope, in order; nil
	// means durable. The Committer calls it from as many goroutines as it has
	// writers. Save returns soon after ctx is done.
	//
	// An error wraps one of the errors below; any other error counts as
	// ErrUnavailable. A store that knows which envelopes to reject may reject
	// them and commit the others.
	Save(ctx context.Context, batch []*envelope.Envelope) []error
	// Close releases the resources of the store. No Save is running then.
	Close() error
}

// The errors of Save. The client receives 451 for all of them except ErrRefused.
var (
	// ErrUnavailable means that the store cannot be reached or written now.
	// Nothing of the batch is stored.
	ErrUnavailable = errors.New("store unavailable")
	// ErrRejected means that the store rejected the data. Nothing of the batch
	// is stored. The Committer halves the batch until the rejected envelope is
	// alone.
	ErrRejected = errors.New("store rejected the message")
	// ErrRefused means that another program, to which the store passes messages,
	// has refused the message permanently. The error wraps the smtp.Reply for the
	// client, with a code of 500 or above. Only such a store, for example the
	// webhook, may return ErrRefused.
	ErrRefused = errors.New("message refused")
	// ErrUnknown means that the store could not find out in time whether the batch
	// was committed. The Committer does not save the batch again.
	ErrUnknown = errors.New("commit outcome unknown")
)

// A Checker is a Store that can test whether it could save messages. The
// Committer calls Check at the start, every second while the store is down, and
// every 10 s while it saves no message, so that the log reports the beginning and
// the end of an outage without a new message. Check may run concurrently with
// Saves and returns soon after ctx is done.
type Checker interface {
	Check(ctx context.Context) error
}

// A Settler is a Store that continues to look up unknown commit outcomes. The
// Committer calls Settle before it closes a store that was replaced. Settle returns
// when every outcome is known or ctx is done.
type Settler interface {
	Settle(ctx context.Context)
}

// LogOutcome logs the outcome of messages whose commit was ErrUnknown before: nil if
// they are stored, ErrUnavailable if they are not stored and never will be, and
// ErrUnknown if the store no longer looks them up. The attributes include "hashes".
func LogOutcome(log *slog.Logger, outcome error, attributes ...any) {
	switch {
	case outcome == nil:
		log.Warn("messages with unknown outcome were stored; senders may deliver them again", attributes...)
	case errors.Is(outcome, ErrUnknown):
		log.Warn("messages with unknown outcome cannot be looked up", attributes...)
	default:
		log.Info("messages with unknown outcome are not in the table", attributes...)
	}
}

// Hashes returns the hashes of all rows of a batch.
func Hashes(batch []*envelope.Envelope) []string {
	var hashes []string
	for _, e := range batch {
		for _, to := range e.To {
			hashes = append(hashes, to.Hash)
		}
	}
	return hashes
}

// Outcome returns the outcome of a Save for n envelopes: the errors that are not nil in own, by
// index, and err for all others.
func Outcome(n int, err error, own ...error) []error {
	errs := make([]error, n)
	copy(errs, own)
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// A Reader reads stored messages for -list and -show. It never writes.
type Reader interface {
	// List returns the newest messages that pass the filter, newest first.
	List(ctx context.Context, f Filter) ([]Listed, error)
	// Hashes returns up to n different hashes that begin with a prefix of hexadecimal
	// digits in lower case.
	Hashes(ctx context.Context, prefix string, n int) ([]string, error)
	// Show returns one message as it arrived, decompressed, with its added
	// header fields first. The error is ErrNotFound if there is no such message.
	Show(ctx context.Context, hash string) ([]byte, error)
	Close() error
}

// A Filter selects messages for Reader.List. A zero field selects all.
type Filter struct {
	N     int       // maximum number of messages
	To    string    // recipient, as it is stored
	From  string    // reverse-path, as it is stored
	Since time.Time // earliest date
}

// ErrNotFound means that no stored message has the given hash.
var ErrNotFound = errors.New("no message has this hash")

// Listed is one line of -list.
type Listed struct {
	Hash, From, To, Subject string
	Date                    time.Time // zero if it is unknown
	Size                    int64     // bytes of the column mail, or of the decompressed message if the store knows them without reading it
}

// MaxBlob is greater than the bytes of the largest message with its added header
// fields. Readers reject a message of MaxBlob bytes or more.
const MaxBlob = 1<<30 + 1<<20
