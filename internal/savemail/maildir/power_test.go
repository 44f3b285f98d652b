package maildir_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/maildir"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
	"goguerrillad/internal/test/storetest"
)

// TestPowerLoss: after a fault and a power loss, an acknowledged message is
// complete, and a failed message is not stored. A failed message leaves no file in
// tmp, and no file is open after Close.
func TestPowerLoss(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault powerfs.Fault // of the first Save
		want  error         // outcome of the first Save
	}{
		{"no fault", powerfs.Fault{}, nil},
		{"mkdir", powerfs.Fault{Op: powerfs.Mkdir, Match: "cur", Count: 1}, syscall.EIO},
		{"open of new", powerfs.Fault{Op: powerfs.Open, Match: "new", Count: 1}, syscall.EIO},
		{"second open of new", powerfs.Fault{Op: powerfs.Open, Match: "new", Nth: 2, Count: 1}, syscall.EIO},
		{"creation of a file", powerfs.Fault{Op: powerfs.Create, Nth: 2, Count: 1}, syscall.EIO},
		{"write of a file", powerfs.Fault{Op: powerfs.Write, Nth: 2, Count: 1}, syscall.EIO},
		{"sync of a file", powerfs.Fault{Op: powerfs.Sync, Count: 1}, syscall.EIO},
		{"rename of a file", powerfs.Fault{Op: powerfs.Rename, Nth: 2, Count: 1}, savemail.ErrUnavailable},
		{"sync of new", powerfs.Fault{Op: powerfs.SyncDir, Match: "new", Count: 1}, savemail.ErrUnavailable},
		{"sync of new, twice", powerfs.Fault{Op: powerfs.SyncDir, Match: "new", Count: 2}, savemail.ErrUnavailable},
		{"syncs of new", powerfs.Fault{Op: powerfs.SyncDir, Match: "new"}, savemail.ErrUnknown},
		// With ext4, only this change fails if the journal fails during the sync.
		{"change after the sync of new", powerfs.Fault{Op: powerfs.SetTimes, Match: "new", Count: 1}, savemail.ErrUnavailable},
		{"sync of the Maildir", powerfs.Fault{Op: powerfs.SyncDir, Match: "Maildir", Count: 1}, syscall.EIO},
		{"sync of the parent directory", powerfs.Fault{Op: powerfs.SyncDir, Match: "spool", Count: 1}, syscall.EIO},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
			spool := filepath.Join(fs.Dir, "spool")
			if err := errors.Join(os.Mkdir(spool, 0o755), savemail.SyncDir(fs.Dir)); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(spool, "Maildir")
			s := maildir.New(dir)
			if tt.fault.Op != 0 {
				tt.fault.Errno, tt.fault.Lost = syscall.EIO, true
				fs.Inject(tt.fault)
			}
			stored, failed := map[string]string{}, map[string]bool{}
			for n := range 3 {
				e := storetest.Envelope("Subject: x\r\n\r\n", "a@example.com", "b@example.com")
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err := s.Save(ctx, []*envelope.Envelope{e})[0]
				cancel()
				fs.ClearFaults()
				if want := []error{tt.want, nil, nil}[n]; !errors.Is(err, want) {
					t.Fatalf("message %d: outcome %v, want %v", n, err, want)
				}
				for i, to := range e.To {
					if err == nil {
						stored[to.Hash] = string(e.AppendBlob(nil, i))
					}
					failed[to.Hash] = err != nil && !errors.Is(err, savemail.ErrUnknown)
				}
			}
			if n := len(files(t, filepath.Join(dir, "tmp"))); n > 0 {
				t.Errorf("tmp has %d files, want 0", n)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if open := descriptors(t, fs.Dir); len(open) > 0 {
				t.Errorf("files are open after Close: %q", open)
			}
			fs.Cut(powerfs.Drop)
			fs.Remount(t)
			for _, row := range files(t, filepath.Join(dir, "new")) {
				if failed[row.Hash] {
					t.Errorf("the failed message %s is stored", row.Hash)
				}
				if message, ok := stored[row.Hash]; ok && message == string(row.Mail) {
					delete(stored, row.Hash)
				}
			}
			if len(stored) > 0 {
				t.Errorf("stored messages are lost or changed: %q", stored)
			}
		})
	}
}

// TestSyncs: a Save syncs new once for all its messages, and the path of new
// only if the path may not be durable.
func TestSyncs(t *testing.T) {
	disk := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	dir := filepath.Join(disk.Dir, "Maildir")
	s := maildir.New(dir)
	defer s.Close()
	for _, tt := range []struct {
		name  string
		event func() error
		fails bool // the Save fails
		path  bool // the Save syncs the path
	}{
		{"first Save", func() error { return nil }, false, true},
		{"next Save", func() error { return nil }, false, false},
		{"cur is missing", func() error { return os.Remove(filepath.Join(dir, "cur")) }, false, true},
		{"new is replaced", func() error {
			return errors.Join(os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "old")), os.Mkdir(filepath.Join(dir, "new"), 0o700))
		}, false, true},
		{"sync of new fails", func() error {
			disk.Inject(powerfs.Fault{Op: powerfs.SyncDir, Match: "new", Count: 1, Errno: syscall.EIO})
			return nil
		}, true, true},
		{"last Save", func() error { return nil }, false, false},
	} {
		if err := tt.event(); err != nil {
			t.Fatal(err)
		}
		path := disk.Inject(powerfs.Fault{Op: powerfs.SyncDir, Match: "Maildir"})
		names := disk.Inject(powerfs.Fault{Op: powerfs.SyncDir, Match: "new"})
		errs := s.Save(t.Context(), []*envelope.Envelope{
			storetest.Envelope("Subject: x\r\n\r\n", "a@example.com", "b@example.com"), storetest.Envelope("Subject: y\r\n\r\n", "a@example.com"),
		})
		if err := errors.Join(errs...); (err != nil) != tt.fails {
			t.Errorf("%s: outcome %v, want an error: %v", tt.name, err, tt.fails)
		}
		if got := path.Hits() > 0; got != tt.path {
			t.Errorf("%s: the path is synced: %v, want %v", tt.name, got, tt.path)
		}
		if got := names.Hits(); got != 1 && !tt.fails {
			t.Errorf("%s: new is synced %d times, want 1", tt.name, got)
		}
		disk.ClearFaults()
	}
}

// TestFileMovedByReader: if a mail program moves a file of a failed message
// before the store removes it, the outcome is unknown.
func TestFileMovedByReader(t *testing.T) {
	fs := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	s := maildir.New(fs.Dir)
	defer s.Close()
	fs.Inject(powerfs.Fault{Op: powerfs.SyncDir, Match: "new", Nth: 1, Count: 1, Errno: syscall.EIO})
	removal := fs.Inject(powerfs.Fault{Op: powerfs.Remove, Errno: syscall.EIO})
	outcome := make(chan error, 1)
	go func() {
		e := storetest.Envelope("Subject: x\r\n\r\n", "a@example.com")
		outcome <- s.Save(t.Context(), []*envelope.Envelope{e})[0]
	}()
	test.Await(t, nil, 10*time.Second, "the store removes no file", func() error {
		if removal.Hits() == 0 {
			return errors.New("no attempt")
		}
		return nil
	})
	names, err := filepath.Glob(filepath.Join(fs.Dir, "new", "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("new has the files %q, want one (error %v)", names, err)
	}
	if err := os.Rename(names[0], filepath.Join(fs.Dir, "cur", filepath.Base(names[0])+":2,S")); err != nil {
		t.Fatal(err)
	}
	removal.Clear()
	if err := <-outcome; !errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome %v, want %v", err, savemail.ErrUnknown)
	}
}

// TestMessageWithoutName: a message that has no file in new is certainly not stored,
// even if the files of another message of the batch cannot be removed durably.
func TestMessageWithoutName(t *testing.T) {
	fs := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	s := maildir.New(fs.Dir)
	defer s.Close()
	unnamed, named := storetest.Envelope("Subject: x\r\n\r\n", "a@example.com"), storetest.Envelope("Subject: x\r\n\r\n", "a@example.com")
	unnamed.To[0].Hash = "no/such/directory"
	fs.Inject(powerfs.Fault{Op: powerfs.SyncDir, Match: "new", Errno: syscall.EIO})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	errs := s.Save(ctx, []*envelope.Envelope{unnamed, named})
	if !errors.Is(errs[0], savemail.ErrUnavailable) || errors.Is(errs[0], savemail.ErrUnknown) {
		t.Errorf("outcome %v of the message without a file in new, want %v", errs[0], savemail.ErrUnavailable)
	}
	if !errors.Is(errs[1], savemail.ErrUnknown) {
		t.Errorf("outcome %v of the other message, want %v", errs[1], savemail.ErrUnknown)
	}
}
