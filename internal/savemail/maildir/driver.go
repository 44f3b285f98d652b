package maildir

import (
	"context"
	"fmt"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// writers is the number of batches that are written and synced concurrently.
const writers = 4

// Driver describes the store.
func Driver() savemail.Driver {
	var dir string
	return savemail.Driver{
		Name:    "maildir",
		Expires: true,
		Files:   func() string { return dir },
		Keys: []config.Key{
			{Name: "GM_MAILDIR", Derived: "$STATE_DIRECTORY/Maildir, else Maildir in the working directory",
				Doc: "directory of the store maildir, created if it is missing",
				Set: func(_ *config.Draft, v string) error { return config.Into(&dir, v, config.Path) }},
		},
		Check: func(d *config.Draft, _ bool) error {
			if dir == "" {
				dir = d.StateFile("Maildir")
			}
			return nil
		},
		// Each writer has a file and new open; syncPath opens new and one directory
		// above it, and Expire opens one. A reload counts all of them twice.
		Descriptors: func() int { return 2 * (2*writers + 3) },
		Open: func(savemail.Setup) (savemail.Opened, error) {
			return savemail.Opened{Store: New(dir), Batching: savemail.Batching{Writers: writers}}, nil
		},
		OpenReader: func(savemail.Setup) (savemail.Reader, error) { return NewReader(dir) },
		Inspect: func(context.Context, savemail.Setup) ([]string, error) {
			if err := writable(dir); err != nil {
				return nil, fmt.Errorf("GM_MAILDIR: %w", err)
			}
			return nil, nil
		},
	}
}
