package savemail

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/smtp"
)

// A Driver is one kind of store: its configuration keys, and how to open it. A
// driver belongs to one configuration; a reload makes a new one.
type Driver interface {
	// Name is the value of GM_SAVE_MAIL that selects the driver.
	Name() string
	// Features returns what the store supports.
	Features() Features
	// Keys returns the keys of the driver. Their Set functions store the values
	// in the driver.
	Keys() []config.Key
	// Default reports whether the driver is the default of GM_SAVE_MAIL because
	// of the keys that are set.
	Default() bool
	// Check completes and checks the values after the keys are set. Missing
	// values are errors only if the driver is selected.
	Check(d *config.Draft, selected bool) error
	// Descriptors returns how many file descriptors the store needs, twice where
	// a reload opens the new store before it closes the old one.
	Descriptors() int
	// Open returns the store. An unavailable database is not an error.
	Open(s Setup) (Opened, error)
	// OpenReader returns a reader for -list and -show, or ErrNoReader.
	OpenReader(s Setup) (Reader, error)
}

// Features are the parts of the configuration that a store supports.
type Features struct {
	Table   bool // rows with a column mail: GM_MAIL_COMPRESS and REDIS_MODE=store apply
	Discard bool // nothing is kept, not in Redis either
}

// ErrNoReader is the error of OpenReader if the store cannot be read.
var ErrNoReader = errors.New("the store keeps no messages that could be read")

// A Querier is a Driver whose database can answer GM_RECIPIENT_QUERY. Its Open
// returns the source of the answers if Setup has a query.
type Querier interface {
	Driver
	Dialect() recipient.Dialect
	// TryQuery runs the query once.
	TryQuery(ctx context.Context, s Setup, address, domain string) error
	// QueryDescriptors returns how many file descriptors one connection needs.
	QueryDescriptors() int
}

// Setup is what a driver needs beside its own keys.
type Setup struct {
	Config  *config.Config
	Query   *recipient.Query // nil if GM_RECIPIENT_QUERY is not set
	Timeout time.Duration    // of a Save
	Version string           // of the daemon
	Log     *slog.Logger
}

// Opened is an open store with what depends on its kind.
type Opened struct {
	Store
	Batching
	Fits       func(address string) *smtp.Reply // refuses a recipient that the columns cannot hold; nil if every recipient fits
	Recipients recipient.Source                 // answers GM_RECIPIENT_QUERY, nil without a query
}

// Batching is the size of batches and the number of writers that suit a store.
// A zero value means the default of the Committer, whose options have the same
// names.
type Batching struct {
	Writers, ExtraWriters, MinBatch, MaxRows int
	MaxBytes                                 int64
}
