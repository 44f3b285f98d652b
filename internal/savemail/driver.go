package savemail

import (
	"context"
	"log/slog"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/smtp"
)

// A Driver describes one kind of store: its configuration keys, how to open it,
// and what it lacks. It belongs to one configuration; a reload makes a new one.
type Driver struct {
	Name    string // value of GM_SAVE_MAIL
	Table   bool   // stores rows with a column mail, so GM_MAIL_COMPRESS and REDIS_MODE=store apply
	Discard bool   // keeps no messages, and Redis gets none either
	Expires bool   // the store is a savemail.Expirer, so GM_KEEP_HOURS applies
	Peer    bool   // a server recognises the daemon by its system user, so -list and -show become the user of the service

	// Files returns the path of the messages if the store is a savemail.Local, so that
	// GM_MIN_FREE applies; nil = it has no files on this machine.
	Files func() string
	// Keys are the configuration keys of the store. Their Set functions store the
	// values in variables that the functions below read.
	Keys []config.Key
	// Default reports whether the keys make the store the default of
	// GM_SAVE_MAIL; nil = never.
	Default func() bool
	// Check fills in defaults and checks the values after all keys are set; nil =
	// no check. A missing value is an error only if the store is selected, or its
	// database runs the query of another store.
	Check func(d *config.Draft, selected bool) error
	// Descriptors returns how many file descriptors the store needs. It counts
	// twice what a reload opens in the new store before it closes the old store.
	Descriptors func() int
	// Open returns the store. An unavailable database is not an error.
	Open func(Setup) (Opened, error)
	// OpenReader returns a reader for -list and -show; nil = the store cannot be
	// read.
	OpenReader func(Setup) (Reader, error)
	// Inspect checks for -t whether a daemon with this configuration could store
	// messages: it connects, looks for the table, its columns and the rights of the
	// user, and stores nothing. Warnings are what the daemon tolerates, such as columns
	// that are too narrow. The error wraps ErrUnavailable if the store could not be
	// asked; any other error prevents the daemon from storing messages until an
	// operator corrects it. nil = there is nothing to check.
	Inspect func(ctx context.Context, s Setup) (warnings []string, err error)
	// Query describes a database that can run GM_RECIPIENT_QUERY; nil = none.
	Query *Query
}

// Query describes a database that can run GM_RECIPIENT_QUERY. If Setup has a query,
// Driver.Open returns the source of its answers in Opened.Recipients.
type Query struct {
	Dialect recipient.Dialect
	// Named reports whether the keys name a database for the query of another store.
	Named func() bool
	// Open returns the source of the answers for another store. Setup has a query.
	Open func(Setup) (recipient.Source, error)
	// Descriptors returns how many file descriptors the connections of the query
	// need, twice, as for the store.
	Descriptors func() int
	// Try runs the query of Setup once.
	Try func(ctx context.Context, s Setup, address, domain string) error
}

// Setup are the parameters of Open and OpenReader in addition to the driver's keys.
type Setup struct {
	Config  *config.Config
	Query   *recipient.Query // nil if GM_RECIPIENT_QUERY is not set
	Timeout time.Duration    // of a Save
	Keep    time.Duration    // GM_KEEP_HOURS, 0 = for ever
	Version string           // of the daemon, "" for a reader
	// Sample is a message that Inspect may insert and roll back, which runs the triggers
	// of the table; nil = insert nothing.
	Sample *envelope.Envelope
	Log    *slog.Logger
}

// Opened is an open store with its batching and its checks of recipients.
type Opened struct {
	Store
	Batching
	Fits       func(address string) *smtp.Reply // refuses a recipient that the columns cannot hold; nil if every recipient fits
	Recipients recipient.Source                 // answers GM_RECIPIENT_QUERY, nil without a query
}

// Batching is the size of batches and the number of writers that suit a store. The
// fields are options of the Committer (commit.Options); zero means its default.
type Batching struct {
	Writers, ExtraWriters, MinBatch, MaxRows int
	MaxBytes                                 int64
}
