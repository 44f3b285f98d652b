package sqlite_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test/storetest"
)

// TestOpenWhileOpen: no message is lost if a second store opens the file, as at a
// reload, with and without a checkpoint before. The WAL has more pages than SQLite's
// cache.
func TestOpenWhileOpen(t *testing.T) {
	for _, copied := range []bool{true, false} {
		o := options(t)
		old := open(t, o)
		noise := make([]byte, 9_000_000)
		rand.NewChaCha8([32]byte{}).Read(noise)
		sent := []*envelope.Envelope{
			storetest.Envelope(text, "a@example.com"),
			storetest.Envelope("Subject: big\r\n\r\n"+string(noise), "b@example.com", "c@example.com", "d@example.com"),
			storetest.Envelope(text, "e@example.com"),
		}
		for i, e := range sent {
			s := old
			if i == 2 {
				if copied {
					execute(t, o.File, "PRAGMA wal_checkpoint(PASSIVE)")
				}
				s = open(t, o)
			}
			if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
				t.Fatal(err)
			}
		}
		var state string
		if err := connect(t, o.File).QueryRow("PRAGMA integrity_check").Scan(&state); err != nil || state != "ok" {
			t.Errorf("copied %v: integrity_check returns %.200q, want ok (error %v)", copied, state, err)
		}
		r, err := sqlite.NewReader(o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i, e := range sent {
			for j, to := range e.To {
				if got, err := r.Show(t.Context(), to.Hash); err != nil || !bytes.Equal(got, e.AppendBlob(nil, j)) {
					t.Errorf("copied %v: message %d of recipient %d has %d bytes that differ (error %v)", copied, i, j, len(got), err)
				}
			}
		}
	}
}
