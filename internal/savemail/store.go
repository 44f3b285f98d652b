// Package savemail commits envelopes: the Committer gathers what sessions
// hand over into batches by itself (natural group commit), a Store makes a
// batch durable, and every envelope gets an outcome of its own.
package savemail

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"goguerrillad/internal/envelope"
)

// A Store makes envelopes durable. To write one's own, implement Save and
// Close; storetest holds it to the contract.
type Store interface {
	// Save stores the batch in one transaction, an envelope for n recipients
	// as n rows, all or none. It returns an error or nil for each envelope, in
	// order; nil means durable. It may be called by as many goroutines at a
	// time as the Committer has writers, and returns soon after ctx is done.
	//
	// An error is one of the kinds below, told by errors.Is; any other
	// counts as ErrUnavailable. A store that knows which envelopes are to be
	// rejected may do so and commit the others.
	Save(ctx context.Context, batch []*envelope.Envelope) []error
	// Close gives back what the store holds. No Save is running then.
	Close() error
}

// The kinds of failure. To the client all of them but ErrRefused are 451.
var (
	// ErrUnavailable: the store cannot be reached or cannot write now; nothing
	// of the batch is stored.
	ErrUnavailable = errors.New("store unavailable")
	// ErrRejected: the data itself was refused; nothing of the batch is stored.
	// The Committer halves the batch until the guilty envelope stands alone.
	ErrRejected = errors.New("store rejects the mail")
	// ErrRefused: the mail will never be taken, and its sender is to hear so.
	// The error wraps the smtp.Reply, with a code from 500 on. Only a store that
	// asks somebody who may decide that has it.
	ErrRefused = errors.New("mail refused")
	// ErrUnknown: whether the batch was committed could not be settled in
	// time. It must not be stored again.
	ErrUnknown = errors.New("outcome of the commit is unknown")
)

// A Settler is a Store that goes on to settle outcomes which it had to call
// unknown. When another store takes its place, it gets the time for that before
// it is closed: Settle returns when nothing is open any more, or ctx is done.
type Settler interface {
	Settle(ctx context.Context)
}

// LogOutcome logs what became of messages whose outcome was unknown when their
// senders were answered 451: nil means that they are stored, ErrUnavailable that
// they are not and never will be, ErrUnknown that the store gives up. The
// attributes have at least "hashes".
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
		hashes = appendHashes(hashes, e)
	}
	return hashes
}

// Outcome gives n envelopes the same outcome.
func Outcome(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// A Reader looks at stored mail, for -list and -show. It only reads.
type Reader interface {
	// List returns the n newest mails, newest first.
	List(ctx context.Context, n int) ([]Listed, error)
	// Show returns one mail as it arrived, its added header lines in front,
	// decompressed. It is ErrNotFound when there is none.
	Show(ctx context.Context, hash string) ([]byte, error)
	Close() error
}

// ErrNotFound means that no mail has the hash that was asked for.
var ErrNotFound = errors.New("no mail has this hash")

// Listed is one line of -list.
type Listed struct {
	Hash, From, To, Subject string
	Date                    time.Time
	Size                    int64 // bytes of the column mail, decompressed where that is known without reading it
}
