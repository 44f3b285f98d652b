package savemail

import (
	"context"
	"log/slog"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/smtp"
)

// A Driver describes one kind of store: its configuration keys, how to open it,
// and what it lacks. It belongs to one configuration; a reload makes a new one.
type Driver struct {
	Name    string // value of GM_SAVE_MAIL
	Table   bool   // rows with a column mail: GM_MAIL_COMPRESS and REDIS_MODE=store apply
	Discard bool   // keeps nothing, not in Redis either

	// Keys are the keys of the store. Their Set functions store the values where
	// the functions below find them.
	Keys []config.Key
	// Default reports whether the keys make the store the default of
	// GM_SAVE_MAIL; nil = never.
	Default func() bool
	// Check completes and checks the values after the keys are set; nil =
	// nothing to check. Missing values are errors only if the store is selected.
	Check func(d *config.Draft, selected bool) error
	// Descriptors returns how many file descriptors the store needs, twice where
	// a reload opens the new store before it closes the old one.
	Descriptors func() int
	// Open returns the store. An unavailable database is not an error.
	Open func(Setup) (Opened, error)
	// OpenReader returns a reader for -list and -show; nil = the store cannot be
	// read.
	OpenReader func(Setup) (Reader, error)
	// Query describes a database that can run GM_RECIPIENT_QUERY; nil = none.
	Query *Query
}

// Query is how a database runs GM_RECIPIENT_QUERY. Open returns the source of
// the answers if Setup has a query.
type Query struct {
	Dialect     recipient.Dialect
	Descriptors int // of one connection
	// Try runs the query of Setup once.
	Try func(ctx context.Context, s Setup, address, domain string) error
}

// Setup is what a driver needs in addition to its own keys.
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
