package maildir

import (
	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// writers is how many batches are written and synced concurrently.
const writers = 4

// Driver configures the store and selects it by GM_SAVE_MAIL=maildir.
type Driver struct{ dir string }

var _ savemail.Driver = (*Driver)(nil)

// Name returns the value of GM_SAVE_MAIL.
func (*Driver) Name() string { return "maildir" }

// Features reports that there is no table.
func (*Driver) Features() savemail.Features { return savemail.Features{} }

// Keys returns GM_MAILDIR.
func (d *Driver) Keys() []config.Key {
	return []config.Key{
		{Name: "GM_MAILDIR", Derived: "$STATE_DIRECTORY/Maildir, else Maildir in the working directory",
			Doc: "directory of the store maildir, created if it is missing",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.dir, v, config.Path) }},
	}
}

// Default returns false.
func (*Driver) Default() bool { return false }

// Check sets the default of GM_MAILDIR.
func (d *Driver) Check(c *config.Draft, _ bool) error {
	if d.dir == "" {
		d.dir = c.StateFile("Maildir")
	}
	return nil
}

// Descriptors counts a file and its directory for each writer, and the two
// directories above them, in the old and in the new store.
func (*Driver) Descriptors() int { return 2 * (2*writers + 2) }

// Open returns the store.
func (d *Driver) Open(savemail.Setup) (savemail.Opened, error) {
	return savemail.Opened{Store: New(d.dir), Batching: savemail.Batching{Writers: writers}}, nil
}

// OpenReader opens the Maildir for reading.
func (d *Driver) OpenReader(savemail.Setup) (savemail.Reader, error) { return NewReader(d.dir) }
