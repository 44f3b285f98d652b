package sqlite_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test/storetest"
)

// TestColumnChanges: the next Save uses a table that another program has changed.
func TestColumnChanges(t *testing.T) {
	o := options(t)
	s := open(t, o)
	saveOne(t, s, nil)
	for _, change := range []string{`DROP "charset"`, `ADD "helo" TEXT NOT NULL DEFAULT ''`, `DROP "subject"`, `ADD "size" INTEGER`, `ADD "mine" TEXT`,
		`ADD "sender" TEXT AS ('x' || "hash")`} {
		execute(t, o.File, "ALTER TABLE new_mail "+change)
		saveOne(t, s, nil)
	}
	db := connect(t, o.File)
	var helo, size, sender int
	if err := db.QueryRow(`SELECT sum("helo"='client.example.org'), sum("size"=length(?)), sum("sender"='x' || "hash") FROM new_mail`, text).
		Scan(&helo, &size, &sender); err != nil {
		t.Fatal(err)
	}
	if helo != 5 || size != 3 || sender != 7 {
		t.Errorf("%d rows with helo, %d with size and %d with sender, want 5, 3 and 7", helo, size, sender)
	}
	execute(t, o.File, `ALTER TABLE new_mail RENAME "mail" TO "m"`)
	if err := saveOne(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), "lacks the columns mail") {
		t.Errorf("error %v, want the missing column mail", err)
	}
	execute(t, o.File, `ALTER TABLE new_mail RENAME "m" TO "mail"`)
	awaitSave(t, s)
}

// TestPrimaryKeys: a column of the primary key that needs a value is reported.
func TestPrimaryKeys(t *testing.T) {
	for _, table := range []struct{ mailID, end, problem string }{
		{"INTEGER PRIMARY KEY NOT NULL", ")", ""},
		{"integer NOT NULL", `, PRIMARY KEY ("mail_id"))`, ""},
		{"TEXT PRIMARY KEY", ")", ""}, // NULL is allowed
		{"INT NOT NULL DEFAULT 5", `, PRIMARY KEY ("mail_id", "hash"))`, ""},
		{"INT PRIMARY KEY NOT NULL", ")", "columns mail_id"},
		{"INTEGER NOT NULL", `, PRIMARY KEY ("mail_id", "hash"))`, "columns mail_id"},
		{"INTEGER PRIMARY KEY", ") WITHOUT ROWID", "columns mail_id"},
		{"INTEGER", `, PRIMARY KEY ("hash")) WITHOUT ROWID`, ""},
	} {
		o := options(t)
		execute(t, o.File, `CREATE TABLE "New_Mail" ("mail_id" `+table.mailID+`, "mail" BLOB, "hash" TEXT, "to" TEXT`+table.end)
		s := open(t, o)
		err := s.Check(t.Context())
		if table.problem == "" {
			if err != nil {
				t.Errorf("%s: %v", table.mailID, err)
			} else {
				saveOne(t, s, nil)
			}
		} else if err == nil || !strings.Contains(err.Error(), table.problem) {
			t.Errorf("%s: error %v, want the %s", table.mailID, err, table.problem)
		}
	}
}

// TestStrict: a STRICT table has text or bytes in any column that is not a number.
func TestStrict(t *testing.T) {
	for _, kind := range []string{"TEXT", "BLOB", "ANY"} {
		o := options(t)
		execute(t, o.File, strings.ReplaceAll(`CREATE TABLE new_mail ("mail_id" INTEGER PRIMARY KEY, "mail" ?, "hash" TEXT, "to" ?, "date" ?, "size" ?, "is_tls" INT,
			"helo" ?, "body" ?, "spam_score" ?, "has_attach" REAL, "tls" INTEGER) STRICT`, "?", kind))
		s := open(t, o)
		e := storetest.Envelope(text, "b@example.com")
		if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		hash := e.To[0].Hash
		r, err := sqlite.NewReader(o)
		if err != nil {
			t.Fatal(err)
		}
		if mail, err := r.Show(t.Context(), hash); err != nil || !strings.HasSuffix(string(mail), text) {
			t.Errorf("%s: Show: %v, %q", kind, err, mail)
		}
		if list, err := r.List(t.Context(), savemail.Filter{N: 1}); err != nil || len(list) != 1 || list[0].Hash != hash || list[0].To != "b@example.com" || list[0].Date.IsZero() {
			t.Errorf("%s: List: %v, %+v", kind, err, list)
		}
		r.Close()
	}
	o := options(t)
	execute(t, o.File, `CREATE TABLE new_mail ("mail" BLOB, "hash" TEXT, "to" TEXT, "date" INTEGER, "ip_addr" INT, "subject" TEXT) STRICT`)
	if err := open(t, o).Check(t.Context()); err == nil || !strings.Contains(fmt.Sprint(err), "columns date, ip_addr") {
		t.Errorf("error %v, want the columns date and ip_addr", err)
	}
}

// TestSkipped: a message is rejected if the table skips one of its rows without an error. A
// view whose trigger stores the rows is not counted.
func TestSkipped(t *testing.T) {
	o := options(t)
	s := sqlite.New(o)
	defer s.Close()
	store(t, s, storetest.Envelope(text, "a@example.com"))
	execute(t, o.File, "CREATE TRIGGER skip BEFORE INSERT ON new_mail WHEN NEW.recipient LIKE 'skip%' BEGIN SELECT RAISE(IGNORE); END")
	for _, to := range [][]string{{"skip@example.com"}, {"b@example.com", "skip@example.com"}} {
		err := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, to...)})[0]
		if !errors.Is(err, savemail.ErrRejected) || !strings.Contains(err.Error(), "skipped") {
			t.Errorf("%v: %v, want %v", to, err, savemail.ErrRejected)
		}
	}
	store(t, s, storetest.Envelope(text, "b@example.com"))
	execute(t, o.File, "ALTER TABLE new_mail RENAME TO stored", "CREATE VIEW new_mail AS SELECT date, hash, recipient, mail FROM stored",
		`CREATE TRIGGER insert_mail INSTEAD OF INSERT ON new_mail BEGIN
			INSERT INTO stored (date, "from", "to", subject, body, charset, mail, spam_score, hash, content_type, recipient, has_attach, ip_addr, attach_info)
			VALUES (NEW.date, '', '', '', '', '', NEW.mail, 0, NEW.hash, '', NEW.recipient, 0, '', ''); END`)
	store(t, s, storetest.Envelope(text, "c@example.com"))
	execute(t, o.File, "DROP VIEW new_mail", "ALTER TABLE stored RENAME TO new_mail")
	if got := len(rows(t, o.File)); got != 3 {
		t.Errorf("%d rows, want 3", got)
	}
}
