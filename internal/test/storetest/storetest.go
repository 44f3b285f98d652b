// Package storetest is the test suite of all stores: Run checks a Store and its Reader
// against the contract of package savemail.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// A Harness is one empty store.
type Harness struct {
	Store savemail.Store
	// Rows returns all rows in the order of mail_id. It is nil if a test cannot read the
	// store; then only the outcomes are tested.
	Rows func(t *testing.T) []Row
	// Reader opens a reader of the store while it is open.
	Reader func(t *testing.T) savemail.Reader
	// Reopen returns a new store with the same data after Store was closed.
	Reopen func(t *testing.T) savemail.Store
	// MailsOnly means that a row has only a hash and the message.
	MailsOnly bool
	// Compressed means that messages are stored as zlib.
	Compressed bool
	// MaxSize is the size of the largest message of the suite, in bytes; 0 = 15,000,000.
	MaxSize int
	// InRedis returns the message of a row from Redis. It is nil if the table contains the
	// messages.
	InRedis func(t *testing.T, hash string) []byte
}

// A Row has the values of one row, as text except the message.
type Row struct {
	Date, From, To, Subject, Body, Charset, Hash, ContentType, Recipient, IP, AttachInfo string

	Mail      []byte
	HasAttach int
	SpamScore float64
	Delivered bool
	DKIMValid bool // it is not NULL
}

// Select returns all rows of a table in the order of mail_id; mark is the quotation mark
// of names.
func Select(t *testing.T, db *sql.DB, table, mark string) (list []Row) {
	t.Helper()
	names := []string{"date", "from", "to", "subject", "body", "charset", "hash", "content_type", "recipient",
		"ip_addr", "attach_info", "mail", "has_attach", "spam_score"}
	result, err := db.Query("SELECT " + mark + strings.Join(names, mark+","+mark) + mark +
		fmt.Sprintf(", %[1]sdelivered%[1]s<>0, %[1]sdkim_valid%[1]s IS NOT NULL FROM %[1]s%[2]s%[1]s ORDER BY %[1]smail_id%[1]s", mark, table))
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	for result.Next() {
		var r Row
		if err := result.Scan(&r.Date, &r.From, &r.To, &r.Subject, &r.Body, &r.Charset, &r.Hash, &r.ContentType, &r.Recipient,
			&r.IP, &r.AttachInfo, &r.Mail, &r.HasAttach, &r.SpamScore, &r.Delivered, &r.DKIMValid); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// Envelope returns an envelope as a session makes it, from a@example.org. The hash of each
// recipient begins with the number of the recipient.
func Envelope(message string, to ...string) *envelope.Envelope {
	e := &envelope.Envelope{
		Session:  "s1",
		Remote:   netip.MustParseAddrPort("192.0.2.7:4321"),
		Helo:     "client.example.org",
		Protocol: "ESMTP",
		Host:     "mx.example.com",
		From:     "a@example.org",
		Date:     time.Now(),
	}
	for i, address := range to {
		e.To = append(e.To, envelope.Recipient{Address: address, Hash: Hash(i)})
	}
	room := e.HeadRoom()
	buf := append(make([]byte, room, room+len(message)), message...)
	e.SetMessage(buf, room)
	e.Info = mailinfo.Parse(e.Message())
	return e
}

// Run runs the suite; it calls open for each test.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"one", one},
		{"many recipients", manyRecipients},
		{"null sender and no address", nullSender},
		{"bytes", exactBytes},
		{"batch", batch},
		{"mixed batch", mixedBatch},
		{"big", big},
		{"no info", noInfo},
		{"attachments", attachments},
		{"unicode", unicodeValues},
		{"long values", longValues},
		{"context ended", contextEnded},
		{"time ends", timeEnds},
		{"concurrent", concurrent},
		{"reopen", reopen},
		{"reader", reader},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := open(t)
			t.Cleanup(func() {
				if h.Store == nil {
					return
				}
				if err := h.Store.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			test.run(t, h)
		})
	}
}

// timeout bounds one Save or lookup. A busy machine is slow to compress 30 MB.
const timeout = 2 * time.Minute

// save saves a batch and requires that all of it is stored.
func save(t *testing.T, s savemail.Store, batch ...*envelope.Envelope) {
	t.Helper()
	check(t, outcomes(t, s, batch))
}

// saveRetrying retries a Save while the store is unavailable: on a busy machine a
// server may need longer for 30 MB than the store waits for its reply.
func saveRetrying(t *testing.T, s savemail.Store, batch ...*envelope.Envelope) {
	t.Helper()
	errs := outcomes(t, s, batch)
	for retries := 0; retries < 5 && errors.Is(errs[0], savemail.ErrUnavailable); retries++ {
		errs = outcomes(t, s, batch)
	}
	check(t, errs)
}

// outcomes saves a batch and returns the outcomes.
func outcomes(t *testing.T, s savemail.Store, batch []*envelope.Envelope) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	errs := s.Save(ctx, batch)
	if len(errs) != len(batch) {
		t.Fatalf("Save of %d envelopes returned %d outcomes", len(batch), len(errs))
	}
	return errs
}

// check requires that all outcomes are nil.
func check(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("envelope %d: %v", i, err)
		}
	}
}

// rows returns the stored rows and requires their number. It returns false for a store
// without Rows.
func (h *Harness) rows(t *testing.T, want int) ([]Row, bool) {
	t.Helper()
	if h.Rows == nil {
		return nil, false
	}
	rows := h.Rows(t)
	if len(rows) != want {
		t.Fatalf("%d rows, want %d", len(rows), want)
	}
	return rows, true
}

// columns is rows for a store with columns.
func (h *Harness) columns(t *testing.T, want int) ([]Row, bool) {
	t.Helper()
	rows, ok := h.rows(t, want)
	return rows, ok && !h.MailsOnly
}

// check compares a row with recipient i of an envelope.
func (h *Harness) check(t *testing.T, row Row, e *envelope.Envelope, i int) {
	t.Helper()
	to := e.To[i]
	body, stored := newmail.BodyPlain, row.Mail
	if h.Compressed {
		body = newmail.BodyZlib
	}
	how := body
	if h.MailsOnly {
		row.Body, row.From, row.To, row.Recipient, row.Charset, row.ContentType = body, e.From, to.Address, to.Address, e.Info.Charset, e.Info.ContentType
		row.Date = "in the message"
	}
	if h.InRedis != nil {
		if len(row.Mail) > 0 {
			t.Errorf("mail is %.100q, want an empty value", row.Mail)
		}
		body, stored = newmail.BodyRedis, h.InRedis(t, row.Hash)
	}
	for _, v := range []struct{ column, got, want string }{
		{"from", row.From, e.From},
		{"to", row.To, to.Address},
		{"recipient", row.Recipient, to.Address},
		{"hash", row.Hash, to.Hash},
		{"body", row.Body, body},
		{"charset", row.Charset, e.Info.Charset},
		{"content_type", row.ContentType, e.Info.ContentType},
	} {
		if v.got != v.want {
			t.Errorf("%s is %q, want %q", v.column, v.got, v.want)
		}
	}
	if row.SpamScore != 0 || row.Delivered || row.DKIMValid {
		t.Errorf("spam_score %v, delivered %v, dkim_valid set %v: want the defaults", row.SpamScore, row.Delivered, row.DKIMValid)
	}
	if row.Date == "" {
		t.Error("date is empty")
	}
	mail, err := newmail.Expand(how, stored)
	if err != nil {
		t.Fatal(err)
	}
	if want := e.AppendBlob(nil, i); string(mail) != string(want) {
		t.Errorf("mail has %d bytes, want the %d bytes of the message; it is %.200q", len(mail), len(want), mail)
	}
}
