// Package discard is a store that discards all messages. It is for measurements
// and tests of the rest of the daemon.
package discard

import (
	"context"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// A Store discards messages.
type Store struct{}

// Save reports the batch as stored, although it is not.
func (Store) Save(_ context.Context, batch []*envelope.Envelope) []error {
	return savemail.Outcome(len(batch), nil)
}

// Close does nothing.
func (Store) Close() error { return nil }
