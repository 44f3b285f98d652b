package discard

import (
	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// Driver selects the store by GM_SAVE_MAIL=discard.
type Driver struct{}

var _ savemail.Driver = Driver{}

// Name returns the value of GM_SAVE_MAIL.
func (Driver) Name() string { return "discard" }

// Features reports that nothing is kept.
func (Driver) Features() savemail.Features { return savemail.Features{Discard: true} }

// Keys returns no keys.
func (Driver) Keys() []config.Key { return nil }

// Default returns false.
func (Driver) Default() bool { return false }

// Check accepts every configuration.
func (Driver) Check(*config.Draft, bool) error { return nil }

// Descriptors returns 0.
func (Driver) Descriptors() int { return 0 }

// Open returns the store.
func (Driver) Open(savemail.Setup) (savemail.Opened, error) {
	return savemail.Opened{Store: Store{}}, nil
}

// OpenReader returns ErrNoReader.
func (Driver) OpenReader(savemail.Setup) (savemail.Reader, error) {
	return nil, savemail.ErrNoReader
}
