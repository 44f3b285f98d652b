package storetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
)

const text = "Subject: hello\r\nFrom: a@example.org\r\n\r\nbody\r\n"

// Hash returns 32 digits that are new each time and start with i.
func Hash(i int) string {
	return fmt.Sprintf("%04x%012x%016x", i, rand.Uint64()>>16, rand.Uint64())
}

func one(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	save(t, h.Store, e)
	if rows, ok := h.rows(t, 1); ok {
		h.check(t, rows[0], e, 0)
		if r := rows[0]; !h.MailsOnly && (r.Subject != "hello" || r.IP != "192.0.2.7" || r.HasAttach != 0 || r.AttachInfo != "[]") {
			t.Errorf("subject %q, ip %q, has_attach %d, attach_info %q", r.Subject, r.IP, r.HasAttach, r.AttachInfo)
		}
	}
}

func manyRecipients(t *testing.T, h Harness) {
	var to []string
	for i := range 100 {
		to = append(to, fmt.Sprintf("user%d@example.com", i))
	}
	// Together they are larger than any one statement should be.
	e := Envelope(text+strings.Repeat(strings.Repeat("x", 76)+"\r\n", 400), to...)
	save(t, h.Store, e)
	if rows, ok := h.rows(t, len(to)); ok {
		for i, row := range rows {
			h.check(t, row, e, i)
		}
	}
}

func nullSender(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	e.From, e.Remote = "", netip.AddrPort{}
	mapped := Envelope(text, "c@example.com")
	mapped.Remote = netip.MustParseAddrPort("[::ffff:198.51.100.1]:25")
	save(t, h.Store, e, mapped)
	if rows, ok := h.rows(t, 2); ok {
		h.check(t, rows[0], e, 0)
		h.check(t, rows[1], mapped, 0)
		if !h.MailsOnly && (rows[0].IP != "" || rows[1].IP != "198.51.100.1") {
			t.Errorf("ip_addr %q and %q", rows[0].IP, rows[1].IP)
		}
	}
}

func exactBytes(t *testing.T, h Harness) {
	var all strings.Builder
	for i := range 256 {
		all.WriteByte(byte(i))
	}
	messages := []string{
		"",
		"\r\n",
		"no header at all",
		"Subject: x\r\n\r\n" + all.String() + all.String(),
		"Subject: quotes\r\n\r\n'\"`\\ ? % _ \x1a \x00' -- \r\n",
		"Subject: bare\r\n\r\nlone \r and \n, .\r\n..\r\n.\n",
		"Subject: long line\r\n\r\n" + strings.Repeat("y", 100_000),
		"Subject: \xff\xfe raw\r\nX: \xed\xa0\x80\r\n\r\n\xc3",
	}
	var sent []*envelope.Envelope
	for _, m := range messages {
		sent = append(sent, Envelope(m, "b@example.com"))
	}
	save(t, h.Store, sent...)
	if rows, ok := h.rows(t, len(sent)); ok {
		for i, row := range rows {
			h.check(t, row, sent[i], 0)
			if !utf8.ValidString(row.Subject) {
				t.Errorf("subject %q", row.Subject)
			}
		}
	}
}

func batch(t *testing.T, h Harness) {
	for _, n := range []int{50, 1, 50, 51, 7} {
		var sent []*envelope.Envelope
		for i := range n {
			sent = append(sent, Envelope(text, fmt.Sprintf("u%d@example.com", i)))
		}
		save(t, h.Store, sent...)
		if h.Rows == nil {
			continue
		}
		rows := h.Rows(t)
		if len(rows) < n {
			t.Fatalf("%d rows after a batch of %d", len(rows), n)
		}
		for i, row := range rows[len(rows)-n:] {
			h.check(t, row, sent[i], 0)
		}
	}
	h.rows(t, 159)
}

// mixedBatch has envelopes with one and with several recipients in turn.
func mixedBatch(t *testing.T, h Harness) {
	var sent []*envelope.Envelope
	n := 0
	for i := range 12 {
		var to []string
		for j := range i%4 + 1 {
			to = append(to, fmt.Sprintf("u%d.%d@example.com", i, j))
		}
		n += len(to)
		sent = append(sent, Envelope(fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("z", i*3000)), to...))
	}
	save(t, h.Store, sent...)
	if rows, ok := h.rows(t, n); ok {
		for _, e := range sent {
			for i := range e.To {
				h.check(t, rows[0], e, i)
				rows = rows[1:]
			}
		}
	}
}

func big(t *testing.T, h Harness) {
	noise := make([]byte, cmp.Or(h.MaxSize, 15_000_000))
	if testing.Short() {
		noise = noise[:1_000_000]
	}
	rand.NewChaCha8([32]byte{}).Read(noise)
	small := Envelope(text, "a@example.com")
	e := Envelope("Subject: big\r\n\r\n"+string(noise), "b@example.com", "c@example.com")
	save(t, h.Store, small, e)
	if rows, ok := h.rows(t, 3); ok {
		h.check(t, rows[0], small, 0)
		h.check(t, rows[1], e, 0)
		h.check(t, rows[2], e, 1)
	}
}

func noInfo(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	e.Info = mailinfo.Info{}
	save(t, h.Store, e)
	if rows, ok := h.rows(t, 1); ok {
		h.check(t, rows[0], e, 0)
	}
}

func attachments(t *testing.T, h Harness) {
	few := Envelope(text, "b@example.com")
	few.Info.Attachments = []mailinfo.Attachment{
		{Name: "a \"b\" <c>.txt", Type: "text/plain", Size: 3},
		{Name: "\u00fc\u4e2d.pdf", Type: "application/pdf", Size: 1 << 40},
	}
	many := Envelope(text, "c@example.com")
	for i := range 2000 {
		many.Info.Attachments = append(many.Info.Attachments,
			mailinfo.Attachment{Name: fmt.Sprintf("\u00fc%d.bin", i), Type: "application/octet-stream", Size: int64(i)})
	}
	save(t, h.Store, few, many)
	rows, ok := h.columns(t, 2)
	if !ok {
		return
	}
	for i, e := range []*envelope.Envelope{few, many} {
		h.check(t, rows[i], e, 0)
		var list []mailinfo.Attachment
		if err := json.Unmarshal([]byte(rows[i].AttachInfo), &list); err != nil {
			t.Fatalf("attach_info: %v", err)
		}
		if len(list) < min(len(e.Info.Attachments), 200) || rows[i].HasAttach != 1 {
			t.Errorf("%d of %d attachments, has_attach %d", len(list), len(e.Info.Attachments), rows[i].HasAttach)
		}
		for j, a := range list {
			if a != e.Info.Attachments[j] {
				t.Errorf("attachment %d is %v, want %v", j, a, e.Info.Attachments[j])
			}
		}
	}
}

// unicodeValues accepts a '?' for each character that a column's set lacks.
func unicodeValues(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	e.Info.Subject = "gr\u00fc\u00dfe \u20ac \u4e2d\u6587 \U0001F600 end"
	save(t, h.Store, e)
	if rows, ok := h.columns(t, 1); ok {
		h.check(t, rows[0], e, 0)
		got, want := []rune(rows[0].Subject), []rune(e.Info.Subject)
		if len(got) != len(want) {
			t.Fatalf("subject %q, want %q", rows[0].Subject, e.Info.Subject)
		}
		for i := range got {
			if got[i] != want[i] && (got[i] != '?' || want[i] < 0x10000) {
				t.Errorf("subject %q, want %q", rows[0].Subject, e.Info.Subject)
			}
		}
	}
}

// longValues accepts values that are cut, but not at a width below the
// schema's.
func longValues(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	e.From = strings.Repeat("f", 200) + "@example.org"
	e.Info = mailinfo.Info{
		Subject:     strings.Repeat("\u00fc", 1000),
		Charset:     strings.Repeat("c", 500),
		ContentType: "text/" + strings.Repeat("t", 500),
	}
	e.Remote = netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678%eth0]:25")
	room := e.HeadRoom()
	e.SetMessage(append(make([]byte, room), text...), room)
	save(t, h.Store, e)
	rows, ok := h.columns(t, 1)
	if !ok {
		return
	}
	for _, v := range []struct {
		column, got, want string
		width             int
	}{
		{"from", rows[0].From, e.From, 128},
		{"subject", rows[0].Subject, e.Info.Subject, 255},
		{"charset", rows[0].Charset, e.Info.Charset, 32},
		{"content_type", rows[0].ContentType, e.Info.ContentType, 64},
		{"ip_addr", rows[0].IP, "2001:db8:1234:5678:9abc:def0:1234:5678", 15},
	} {
		if !strings.HasPrefix(v.want, v.got) || utf8.RuneCountInString(v.got) < v.width {
			t.Errorf("%s is %q", v.column, v.got)
		}
	}
}

func contextEnded(t *testing.T, h Harness) {
	save(t, h.Store, Envelope(text, "a@example.com"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := Envelope(text, "b@example.com")
	errs := h.Store.Save(ctx, []*envelope.Envelope{e})
	if h.Rows == nil {
		return
	}
	if len(errs) != 1 || errs[0] == nil || errors.Is(errs[0], savemail.ErrUnknown) || errors.Is(errs[0], savemail.ErrRejected) {
		t.Errorf("Save with a context that has ended: %v", errs)
	}
	h.rows(t, 1)
	save(t, h.Store, e)
	h.rows(t, 2)
}

// timeEnds ends the time of a Save at every moment at which the store looks at
// it: an envelope is stored if its outcome is nil, and is not if it failed.
func timeEnds(t *testing.T, h Harness) {
	save(t, h.Store, Envelope(text, "first@example.com"))
	for n := range 100 {
		sent := []*envelope.Envelope{
			Envelope(text, "a@example.com"),
			Envelope(text, "b@example.com", "c@example.com", "d@example.com"),
			Envelope(text, "e@example.com"),
		}
		errs := h.Store.Save(endAfter(t, n), sent)
		if len(errs) != len(sent) {
			t.Fatalf("Save of %d envelopes gave %d outcomes", len(sent), len(errs))
		}
		if h.Rows != nil {
			h.compare(t, sent, errs)
		}
		if errors.Join(errs...) == nil {
			return // it did not look at the time again
		}
	}
	t.Error("no Save succeeds")
}

// compare compares the rows of envelopes with their outcomes.
func (h *Harness) compare(t *testing.T, sent []*envelope.Envelope, errs []error) {
	t.Helper()
	stored := map[string]bool{}
	for _, row := range h.Rows(t) {
		stored[row.Hash] = true
	}
	for i, e := range sent {
		rows := 0
		for _, to := range e.To {
			if stored[to.Hash] {
				rows++
			}
		}
		switch err := errs[i]; {
		case err == nil && rows < len(e.To),
			err != nil && !errors.Is(err, savemail.ErrUnknown) && rows > 0:
			t.Errorf("envelope %d: %d of %d rows, outcome %v", i, rows, len(e.To), err)
		}
	}
}

// An ending is a context that ends when its Err is called once too often.
type ending struct {
	context.Context
	end  context.CancelFunc
	left atomic.Int64
}

func endAfter(t *testing.T, calls int) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	e := &ending{Context: ctx, end: cancel}
	e.left.Store(int64(calls))
	return e
}

func (e *ending) Err() error {
	if e.left.Add(-1) < 0 {
		e.end()
	}
	return e.Context.Err()
}

func concurrent(t *testing.T, h Harness) {
	const writers, batches, size = 4, 10, 5
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for b := range batches {
				var sent []*envelope.Envelope
				for i := range size {
					sent = append(sent, Envelope(text, fmt.Sprintf("u%d.%d.%d@example.com", w, b, i)))
				}
				for _, err := range h.Store.Save(t.Context(), sent) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if rows, ok := h.rows(t, writers*batches*size); ok {
		seen := map[string]bool{}
		for _, r := range rows {
			seen[r.Hash] = true
		}
		if len(seen) != len(rows) {
			t.Errorf("%d different hashes in %d rows", len(seen), len(rows))
		}
	}
}

func reopen(t *testing.T, h Harness) {
	if h.Reopen == nil {
		return // a store that keeps nothing
	}
	first, second := Envelope(text, "b@example.com"), Envelope(text, "c@example.com")
	save(t, h.Store, first)
	if err := h.Store.Close(); err != nil {
		t.Fatal(err)
	}
	s := h.Reopen(t)
	defer s.Close()
	save(t, s, second)
	if rows, ok := h.rows(t, 2); ok {
		h.check(t, rows[0], first, 0)
		h.check(t, rows[1], second, 0)
	}
}

func reader(t *testing.T, h Harness) {
	if h.Reader == nil {
		return // a store that keeps nothing
	}
	begin := time.Now()
	older := Envelope(text, "b@example.com", "c@example.com")
	newer := Envelope("Subject: newer\r\n\r\n\x00\xff", "d@example.com")
	save(t, h.Store, older)
	save(t, h.Store, newer)
	r := h.Reader(t)
	defer r.Close()
	list, err := r.List(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("List(2) gave %d", len(list))
	}
	if m := list[0]; m.Hash != newer.To[0].Hash || m.From != newer.From || m.To != "d@example.com" || m.Subject != "newer" {
		t.Errorf("the newest is %+v", m)
	}
	if list[1].Hash != older.To[1].Hash {
		t.Errorf("second is %+v", list[1])
	}
	if age := list[0].Date.Sub(begin); age < -2*time.Second || age > timeout {
		t.Errorf("date %v, saved after %v", list[0].Date, begin)
	}
	if want := int64(newer.BlobSize(0)); !h.Compressed && list[0].Size != want {
		t.Errorf("size %d, want %d", list[0].Size, want)
	}
	for _, e := range []*envelope.Envelope{older, newer} {
		for i, to := range e.To {
			mail, err := r.Show(t.Context(), to.Hash)
			if err != nil {
				t.Fatal(err)
			}
			if string(mail) != string(e.AppendBlob(nil, i)) {
				t.Errorf("Show(%s) is %q", to.Hash, mail)
			}
		}
	}
	if _, err := r.Show(t.Context(), Hash(9)); !errors.Is(err, savemail.ErrNotFound) {
		t.Errorf("Show of an unknown hash: %v", err)
	}
}
