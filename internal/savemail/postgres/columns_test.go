package postgres_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/postgres"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

// create replaces the table of a test.
func (b *testbed) create(t *testing.T, columns string) {
	t.Helper()
	b.server.Exec(t, "DROP TABLE "+b.table, "CREATE TABLE "+b.table+" ("+columns+")", "GRANT SELECT, INSERT ON "+b.table+" TO "+b.server.User)
}

// one saves one envelope and returns the row.
func (b *testbed) one(t *testing.T, s *postgres.Store, e *envelope.Envelope) storetest.Row {
	t.Helper()
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatalf("%v\n%s", err, b.log)
	}
	for _, r := range b.rows(t) {
		if r.Hash == e.To[0].Hash {
			return r
		}
	}
	t.Fatal("no row")
	return storetest.Row{}
}

// testColumns: the store fits values to the types and the widths of the columns.
func testColumns(t *testing.T, b *testbed) {
	b.server.Exec(t, "CREATE DOMAIN short AS varchar(5)", "CREATE DOMAIN bytes AS bytea", "CREATE DOMAIN number AS int NOT NULL")
	b.create(t, `mail_id bigserial PRIMARY KEY, date timestamp NOT NULL, "from" varchar(10) NOT NULL, recipient varchar(30) NOT NULL,
		subject short, mail bytes NOT NULL, hash char(32) NOT NULL, has_attach smallint NOT NULL, ip_addr inet NOT NULL, spam_score numeric NOT NULL,
		is_tls boolean, size integer, helo text, "Mine" text DEFAULT 'x', n number DEFAULT 1`)
	s := b.open(t, nil)
	defer s.Close()
	grant := "GRANT USAGE ON SEQUENCE public." + b.table + "_mail_id_seq TO " + b.server.User
	if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "want "+grant) {
		t.Errorf("no right on the sequence: %v, want %q", err, grant)
	}
	b.server.Exec(t, grant)
	test.Await(t, nil, 10*time.Second, "the right is not used", func() error { return s.Check(t.Context()) })
	e := storetest.Envelope("Subject: caf\xc3\xa9 au lait\r\n\r\nbody\r\n", "b@example.com")
	e.Helo, e.TLS = "a\x00b", "TLSv1.3"
	r := b.one(t, s, e)
	if r.Subject != "café " || r.From != "a@example." || r.IP != "192.0.2.7" || r.HasAttach != 0 {
		t.Errorf("subject %q, from %q, address %q, has_attach %d", r.Subject, r.From, r.IP, r.HasAttach)
	}
	var helo string
	var tls bool
	var size int
	if err := b.db.QueryRow("SELECT helo, is_tls, size FROM "+b.table).Scan(&helo, &tls, &size); err != nil || helo != "a?b" || !tls || size != e.Size() {
		t.Errorf("helo %q, is_tls %v, size %d, %v", helo, tls, size, err)
	}
	unknown := storetest.Envelope(text, "b@example.com")
	unknown.Remote = netip.AddrPort{}
	if r := b.one(t, s, unknown); r.IP != "0.0.0.0" {
		t.Errorf("an unknown address is %q, want 0.0.0.0", r.IP)
	}
	if refusal := s.Fits(strings.Repeat("x", 30) + "@example.com"); refusal == nil || *refusal != smtp.ReplyRecipientTooLong {
		t.Errorf("a long recipient: %v, want %v", refusal, smtp.ReplyRecipientTooLong)
	}
	if !strings.Contains(b.log.String(), "PostgreSQL table is too narrow for some values") {
		t.Errorf("no warning: %s", b.log)
	}
}

// testColumnChanges: the table changes while the store is open.
func testColumnChanges(t *testing.T, b *testbed) {
	s := b.open(t, nil)
	defer s.Close()
	b.one(t, s, storetest.Envelope(text, "b@example.com"))
	for _, change := range []string{
		"DROP COLUMN subject", "ADD COLUMN subject varchar(3)", `ALTER COLUMN "from" TYPE varchar(4) USING left("from", 4)`, "ALTER COLUMN spam_score TYPE double precision",
		"RENAME COLUMN charset TO other", "ALTER COLUMN other DROP NOT NULL", "ALTER COLUMN has_attach TYPE int USING has_attach::int", "ADD COLUMN tls text",
	} {
		b.server.Exec(t, "ALTER TABLE "+b.table+" "+change)
		if change == "RENAME COLUMN charset TO other" { // it is NOT NULL, and the daemon does not know it
			if err := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, "b@example.com")})[0]; !errors.Is(err, savemail.ErrUnavailable) {
				t.Errorf("a column without a value: %v, want %v", err, savemail.ErrUnavailable)
			}
			continue
		}
		b.one(t, s, storetest.Envelope(text, "b@example.com"))
	}
	b.server.Exec(t, "ALTER TABLE "+b.table+" ALTER COLUMN mail TYPE text USING ''")
	test.Await(t, nil, 20*time.Second, "the new type is not noticed", func() error {
		err := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, "b@example.com")})[0]
		if !errors.Is(err, savemail.ErrUnavailable) || !strings.Contains(err.Error(), "bytea") {
			return fmt.Errorf("mail is text: %w", err)
		}
		return nil
	})
	b.server.Exec(t, "DROP TABLE "+b.table)
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check of a missing table succeeds")
	}
	b.server.CreateTable(t, b.table)
	test.Await(t, nil, 10*time.Second, "the new table is not used", func() error { return s.Check(t.Context()) })
	b.one(t, s, storetest.Envelope(text, "b@example.com"))
}

// testRejected: a message that a constraint or a trigger rejects is alone, and a value that a
// type does not accept is stored in ASCII.
func testRejected(t *testing.T, b *testbed) {
	b.server.Exec(t, "ALTER TABLE "+b.table+" ADD CHECK (subject <> 'bad')")
	s := b.open(t, nil)
	defer s.Close()
	batch := []*envelope.Envelope{storetest.Envelope(text, "b@example.com"), storetest.Envelope("Subject: bad\r\n\r\n", "b@example.com")}
	for i, err := range s.Save(t.Context(), batch) {
		if !errors.Is(err, savemail.ErrRejected) {
			t.Errorf("message %d: %v, want %v", i, err, savemail.ErrRejected)
		}
	}
	if err := s.Save(t.Context(), batch[:1])[0]; err != nil {
		t.Error(err)
	}
	if err := s.Save(t.Context(), batch[1:])[0]; !errors.Is(err, savemail.ErrRejected) {
		t.Errorf("%v, want %v", err, savemail.ErrRejected)
	}
	if n := len(b.rows(t)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// testEncoding: a database in another encoding replaces characters and refuses recipients.
func testEncoding(t *testing.T, b *testbed) {
	b.server.Exec(t, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	latin := *b.server
	latin.DB = "latin"
	latin.Exec(t, "GRANT CREATE, USAGE ON SCHEMA public TO "+latin.Owner)
	latin.CreateTable(t, b.table)
	other := &testbed{parent: b.parent, server: &latin, db: latin.Connect(t), table: b.table, log: b.log}
	s := other.open(t, nil)
	defer s.Close()
	if r := other.one(t, s, storetest.Envelope("Subject: caf\xc3\xa9 \xe5\xad\x97\r\n\r\nb\xc3\xb6dy\r\n", "b@example.com")); r.Subject != "caf? ?" || !strings.Contains(string(r.Mail), "b\xc3\xb6dy") {
		t.Errorf("subject %q, message %q", r.Subject, r.Mail)
	}
	if refusal := s.Fits("字@example.com"); refusal == nil || *refusal != smtp.ReplyRecipientUnstorable {
		t.Errorf("recipient: %v, want %v", refusal, smtp.ReplyRecipientUnstorable)
	}
}

// testRule: Check reports a rule that replaces the INSERT.
func testRule(t *testing.T, b *testbed) {
	b.server.Exec(t, "CREATE RULE skip AS ON INSERT TO "+b.table+" DO INSTEAD NOTHING")
	s := b.open(t, nil)
	defer s.Close()
	if err := s.Check(t.Context()); !errors.Is(err, savemail.ErrUnavailable) || !strings.Contains(err.Error(), "RETURNING") {
		t.Errorf("%v, want an error about RETURNING", err)
	}
}

// testRights: an error names the statement that grants the rights.
func testRights(t *testing.T, b *testbed) {
	for _, right := range []string{"INSERT", "SELECT"} {
		b.server.Exec(t, "REVOKE "+right+" ON "+b.table+" FROM "+b.server.User)
		s := b.open(t, nil)
		defer s.Close()
		want := "want GRANT SELECT, INSERT ON \"" + b.table + "\" TO " + b.server.User
		if err := s.Check(t.Context()); !errors.Is(err, savemail.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v, want %q", right, err, want)
		}
		b.server.Exec(t, "GRANT SELECT, INSERT ON "+b.table+" TO "+b.server.User)
	}
}

// testSkipped: a message is rejected if a trigger skips one of its rows. Other messages are stored.
func testSkipped(t *testing.T, b *testbed) {
	b.server.Exec(t, "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.recipient LIKE ''skip%'' THEN RETURN NULL; END IF; RETURN NEW; END'",
		"CREATE TRIGGER skip BEFORE INSERT ON "+b.table+" FOR EACH ROW EXECUTE FUNCTION skip()")
	s := b.open(t, nil)
	defer s.Close()
	for _, to := range [][]string{{"skip@example.com"}, {"b@example.com", "skip@example.com"}} {
		err := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, to...)})[0]
		if !errors.Is(err, savemail.ErrRejected) || !strings.Contains(err.Error(), "trigger") {
			t.Errorf("%v: %v, want %v", to, err, savemail.ErrRejected)
		}
	}
	b.one(t, s, storetest.Envelope(text, "b@example.com"))
	if n := len(b.rows(t)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// testUnlogged: the store warns of a table or a partition that a crash empties, or that is on
// another server.
func testUnlogged(t *testing.T, b *testbed) {
	warning := func() string {
		s := b.open(t, nil)
		defer s.Close()
		s.WarmUp()
		return b.log.String()
	}
	if log := warning(); log != "" {
		t.Errorf("the log is %s", log)
	}
	b.server.Exec(t, "ALTER TABLE "+b.table+" SET UNLOGGED")
	if log := warning(); !strings.Contains(log, "UNLOGGED") || !strings.Contains(log, "tables="+b.table+"\n") {
		t.Errorf("the log is %s", log)
	}
	b.create(t, "mail bytea, hash text, recipient text) PARTITION BY HASH (hash")
	b.server.Exec(t, "CREATE UNLOGGED TABLE "+b.table+"_part PARTITION OF "+b.table+" FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
	if log := warning(); !strings.Contains(log, "tables="+b.table+"_part\n") {
		t.Errorf("the log is %s", log)
	}
	b.server.Exec(t, "DROP TABLE "+b.table+"_part", "CREATE FOREIGN DATA WRAPPER other", "CREATE SERVER other FOREIGN DATA WRAPPER other",
		"CREATE FOREIGN TABLE "+b.table+"_part PARTITION OF "+b.table+" FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER other")
	if log := warning(); !strings.Contains(log, "on another server") || !strings.Contains(log, "tables="+b.table+"_part\n") {
		t.Errorf("the log is %s", log)
	}
}

// testFormats: the formats of the user's session do not matter.
func testFormats(t *testing.T, b *testbed) {
	b.server.Exec(t, "ALTER ROLE "+b.server.User+" SET datestyle = 'German'", "ALTER ROLE "+b.server.User+" SET bytea_output = 'escape'",
		"GRANT DELETE ON "+b.table+" TO "+b.server.User)
	defer b.server.Exec(t, "ALTER ROLE "+b.server.User+" RESET ALL")
	h := b.harness(t, func(*postgres.Options) {})
	defer h.Store.Close()
	e := storetest.Envelope(text, "b@example.com")
	if err := h.Store.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	r := h.Reader(t)
	defer r.Close()
	list, err := r.List(t.Context(), savemail.Filter{N: 1})
	if err != nil || len(list) != 1 || list[0].Hash != e.To[0].Hash || time.Since(list[0].Date).Abs() > time.Minute {
		t.Errorf("%+v, %v", list, err)
	}
	if mail, err := r.Show(t.Context(), e.To[0].Hash); err != nil || !strings.Contains(string(mail), text) {
		t.Errorf("message %q, %v", mail, err)
	}
	expired, err := h.Store.(savemail.Expirer).Expire(t.Context(), time.Now().Add(-time.Hour))
	if err != nil || time.Since(expired.Oldest).Abs() > time.Minute {
		t.Errorf("%+v, %v", expired, err)
	}
}

// testDeallocated: a missing prepared statement stops no message.
func testDeallocated(t *testing.T, b *testbed) {
	s := b.open(t, nil)
	defer s.Close()
	b.server.Exec(t, "CREATE FUNCTION deallocate() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN EXECUTE ''DEALLOCATE ALL''; RETURN NULL; END'",
		"CREATE TRIGGER deallocate AFTER INSERT ON "+b.table+" EXECUTE FUNCTION deallocate()")
	for range 3 {
		b.one(t, s, storetest.Envelope(text, "b@example.com"))
	}
}

// testSessionAttrs: the store uses a server that accepts writes, whatever target_session_attrs
// of the DSN is.
func testSessionAttrs(t *testing.T, b *testbed) {
	for _, attrs := range []string{"any", "primary", "read-only", "standby", "prefer-standby"} {
		s := b.open(t, func(o *postgres.Options) { o.DSN += "&target_session_attrs=" + attrs })
		b.one(t, s, storetest.Envelope(text, "b@example.com"))
		s.Close()
	}
}
