// Package discard is a store that throws mail away. It promises nothing and is
// there to measure, and to test, everything that stands before a store.
package discard

import (
	"context"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// Store discards.
type Store struct{}

// Save says that the batch is stored. It is not.
func (Store) Save(_ context.Context, batch []*envelope.Envelope) []error {
	return savemail.Outcome(len(batch), nil)
}

// Close does nothing.
func (Store) Close() error { return nil }
