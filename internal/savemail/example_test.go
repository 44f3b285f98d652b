package savemail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// Files is a store of one's own: each mail is a file, whole and synced before
// it has its name. The rows of several recipients differ in the added header
// lines alone, of which it keeps the first recipient's.
type Files struct{ Dir string }

// Save stores one mail after the other; each has an outcome of its own.
func (s Files) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	errs := make([]error, len(batch))
	for i, e := range batch {
		if errs[i] = ctx.Err(); errs[i] == nil {
			errs[i] = s.save(filepath.Join(s.Dir, e.To[0].Hash), e.Blob(0))
		}
	}
	return errs
}

func (s Files) save(name string, mail []byte) error {
	f, err := os.Create(name + ".new")
	if err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, err)
	}
	_, err = f.Write(mail)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", savemail.ErrUnavailable, err), os.Remove(f.Name()))
	}
	dir, err := os.Open(s.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, err)
	}
	defer dir.Close()
	if err := errors.Join(os.Rename(f.Name(), name), dir.Sync()); err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnknown, err)
	}
	return nil
}

// Close has nothing to close.
func (s Files) Close() error { return nil }

// A store of one's own needs two methods; the Committer does the rest.
func Example() {
	dir, err := os.MkdirTemp("", "files")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	committer := savemail.New(Files{dir}, savemail.Options{Writers: 4})
	e := &envelope.Envelope{To: []envelope.Recipient{{Address: "a@example.com", Hash: "0123456789abcdef0123456789abcdef"}}}
	e.SetMessage([]byte("Subject: hello\r\n\r\n"), 0)
	committer.Submit(e, func(err error) { fmt.Println("outcome:", err) })
	if err := committer.Drain(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: outcome: <nil>
}
