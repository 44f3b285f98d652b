// Package storetest is the test suite of all stores: Run checks a Store and its Reader
// against the contract of package savemail.
package storetest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
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
	// SetDate sets the date of a row. It is nil if the date of the envelope decides.
	SetDate func(t *testing.T, hash string, date time.Time)
	// CannotExpire is a part of the error of Expire, "" if the store can delete messages.
	CannotExpire string
}

// A Row has the values of one row, as text except the message. A column that the table
// lacks is empty.
type Row struct {
	Date, From, To, Subject, Body, Charset, Hash, ContentType, Recipient, IP, AttachInfo string

	Mail      []byte
	HasAttach int
	SpamScore float64
	Delivered bool
	DKIMValid bool // it is not NULL

	text   map[string]string // all columns of the table
	packed bool              // ip_addr holds the bytes of the address
}

// has reports whether the table has all of these columns.
func (r Row) has(columns ...string) bool {
	return !slices.ContainsFunc(columns, func(c string) bool { _, ok := r.text[c]; return !ok })
}

// Select returns all rows of a table in the order of mail_id; mark is the quotation mark
// of names.
func Select(t *testing.T, db *sql.DB, table, mark string) (list []Row) {
	t.Helper()
	rows, err := db.Query("SELECT * FROM " + mark + table + mark)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]any, len(types))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		r := Row{text: map[string]string{}}
		for i, column := range types {
			value := *values[i].(*any)
			r.text[column.Name()] = asText(column.DatabaseTypeName(), value)
			switch column.Name() {
			case "mail":
				r.Mail = []byte(r.text["mail"])
			case "ip_addr":
				if ip, ok := netip.AddrFromSlice([]byte(r.text["ip_addr"])); ok && strings.HasPrefix(column.DatabaseTypeName(), "VARBINARY") {
					r.text["ip_addr"], r.packed = ip.String(), true
				}
			case "dkim_valid":
				r.DKIMValid = value != nil
			}
		}
		r.Date, r.From, r.To, r.Subject, r.Body, r.Charset = r.text["date"], r.text["from"], r.text["to"], r.text["subject"], r.text["body"], r.text["charset"]
		r.Hash, r.ContentType, r.Recipient, r.IP = r.text["hash"], r.text["content_type"], r.text["recipient"], r.text["ip_addr"]
		r.AttachInfo, r.Delivered = r.text["attach_info"], r.text["delivered"] != "0" && r.has("delivered")
		r.HasAttach, _ = strconv.Atoi(r.text["has_attach"])
		r.SpamScore, _ = strconv.ParseFloat(r.text["spam_score"], 64)
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(list, func(a, b Row) int {
		return cmp.Or(len(a.text["mail_id"])-len(b.text["mail_id"]), strings.Compare(a.text["mail_id"], b.text["mail_id"]))
	})
	return list
}

// asText returns a value as text, and bits as a number.
func asText(kind string, value any) string {
	bytes, ok := value.([]byte)
	switch {
	case value == nil:
		return ""
	case value == false:
		return "0"
	case value == true:
		return "1"
	case !ok:
		return fmt.Sprint(value)
	case strings.HasPrefix(kind, "BIT"):
		return fmt.Sprint(int(bytes[0]))
	}
	return string(bytes)
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
		{"every column", everyColumn},
		{"no info", noInfo},
		{"attachments", attachments},
		{"unicode", unicodeValues},
		{"long values", longValues},
		{"context ended", contextEnded},
		{"time ends", timeEnds},
		{"concurrent", concurrent},
		{"reopen", reopen},
		{"reader", reader},
		{"expire", expire},
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

// columns returns the stored rows, and false for a table without all columns of 2012.
func (h *Harness) columns(t *testing.T, want int) ([]Row, bool) {
	t.Helper()
	rows, ok := h.rows(t, want)
	return rows, ok && len(rows) > 0 && rows[0].has("from", "to", "subject", "charset", "content_type", "recipient", "ip_addr", "has_attach", "attach_info")
}

// check compares a row with recipient i of an envelope.
func (h *Harness) check(t *testing.T, row Row, e *envelope.Envelope, i int) {
	t.Helper()
	to := e.To[i]
	body, stored := newmail.BodyPlain, row.Mail
	compressed := h.Compressed && (h.MailsOnly || row.has("body"))
	if compressed {
		body = newmail.BodyZlib
	}
	how := body
	if row.has("return_path") && !row.has("charset") && compressed {
		body = newmail.BodyGzip
	}
	if h.InRedis != nil {
		if len(row.Mail) > 0 {
			t.Errorf("mail is %.100q, want an empty value", row.Mail)
		}
		body, stored = newmail.BodyRedis, h.InRedis(t, row.Hash)
	}
	if row.Hash != to.Hash {
		t.Errorf("hash is %q, want %q", row.Hash, to.Hash)
	}
	h.compareValues(t, row, map[string]string{
		"from": e.From, "to": to.Address, "recipient": to.Address, "body": body, "charset": e.Info.Charset, "content_type": e.Info.ContentType,
		"spam_score": "0", "delivered": "0", "dkim_valid": "",
	})
	if row.has("date") && row.Date == "" {
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

// compareValues compares the columns that the table has with the wanted values.
func (h *Harness) compareValues(t *testing.T, row Row, want map[string]string) {
	t.Helper()
	for column, w := range want {
		if row.has(column) && row.text[column] != w {
			t.Errorf("%s is %q, want %q", column, row.text[column], w)
		}
	}
}
