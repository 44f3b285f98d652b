package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/savemail/newmail"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// everything has ASCII's punctuation, and characters that many sets lack.
const everything = " !\"#$%&'()*+,-./0:;<=>?@A[\\]^_`a{|}~ \u00e9\u2019\u4f60\u597d\u03b1\u05d0\u00a0\U0001F600end"

// testCharsets creates a table with each character set of the server. The store
// rejects no message and changes no character that the set has, and Fits refuses
// the addresses that the server would change.
func testCharsets(t *testing.T, b *testbed) {
	rows, err := b.db.Query("SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var set string
		if err := rows.Scan(&set); err != nil {
			t.Fatal(err)
		}
		t.Run(set, func(t *testing.T) {
			own := *b
			own.table += "_" + set
			testCharset(t, &own, set)
		})
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func testCharset(t *testing.T, b *testbed, set string) {
	b.create(t)
	b.recreate(t, set)
	s := b.open(t, nil)
	defer s.Close()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	converted := func(text string) (got string) {
		switch set {
		case "binary":
			return text
		case "utf8": // TiDB's CONVERT does not change characters that its INSERT refuses
			return strings.ReplaceAll(text, "\U0001F600", "?")
		}
		b.server.QueryRow(t, fmt.Sprintf("SELECT CONVERT(CONVERT(_utf8mb4 x'%x' USING %s) USING utf8mb4)", text, set), &got)
		return got
	}
	to := []string{"postmaster"}
	for _, r := range everything {
		address := string(r) + "\u674e@example.com"
		for _, address := range []string{address, string(r), string(r) + "@example.com"} {
			fits := converted(address) == address
			if (s.Fits(address) == nil) != fits {
				t.Errorf("Fits(%q) = %v, want a refusal: %v", address, s.Fits(address), !fits)
			}
			if fits {
				to = append(to, address)
			}
		}
	}
	e := storetest.Envelope(text, to...)
	e.From = "\u674e" + everything
	e.Info = mailinfo.Info{Subject: everything, Charset: everything[:20], ContentType: "text/plain",
		Attachments: []mailinfo.Attachment{{Name: everything, Type: "a/b", Size: 1}}}
	mustSave(t, s, e)
	list := b.rows(t)
	if len(list) != len(to) {
		t.Fatalf("%d rows, want %d", len(list), len(to))
	}
	for i, row := range list {
		checkColumns(t, fmt.Sprintf("row %d", i),
			column{"to", row.To, to[i]}, column{"recipient", row.Recipient, to[i]}, column{"hash", row.Hash, e.To[i].Hash},
			column{"subject", row.Subject, converted(everything)}, column{"from", row.From, converted(e.From)},
			column{"charset", row.Charset, converted(e.Info.Charset)}, column{"mail", string(row.Mail), string(e.AppendBlob(nil, i))})
		if t.Failed() {
			return
		}
	}
	testTexts(t, b, s, set, set == "binary" || set == "latin1" && converted("\u4f60") == "?") // TiDB's latin1 is UTF-8
}

// recreate creates the table again with a character set and with parts of the
// schema replaced.
func (b *testbed) recreate(t *testing.T, set string, oldnew ...string) {
	t.Helper()
	schema := strings.NewReplacer(append(oldnew,
		"character set latin1", "character set "+set, "CHARSET=utf8", "CHARSET="+set)...).Replace(servers.Schema2012(t, "mail."+b.table))
	b.server.Exec(t, "DROP TABLE mail."+b.table, schema)
}

// testTexts narrows columns and makes mail a text column: the store rejects no
// message. everyByte is true if the set has a character for every byte.
func testTexts(t *testing.T, b *testbed, s *mysql.Store, set string, everyByte bool) {
	b.recreate(t, set, "`subject` varchar(255)", "`subject` tinytext", "`from` varchar(128)", "`from` varchar(10)",
		"`attach_info` text", "`attach_info` tinytext", "`mail` longblob", "`mail` longtext")
	var all strings.Builder
	for i := range 256 {
		all.WriteByte(byte(i))
	}
	message := "Subject: hello\r\n\r\n" + everything + all.String()
	e := storetest.Envelope(message, "postmaster", "postmaster")
	e.From = everything
	e.Info.Subject = strings.Repeat("\u00e9\u4f60a", 300)
	for i := range 9 {
		e.Info.Attachments = append(e.Info.Attachments, mailinfo.Attachment{Name: everything, Type: "a/b", Size: int64(i)})
	}
	compressed := b.open(t, func(o *mysql.Options) { o.Compress = true })
	defer compressed.Close()
	for _, s := range []*mysql.Store{s, compressed} {
		mustSave(t, s, e)
	}
	for _, row := range b.rows(t)[:2] {
		if !strings.Contains(string(row.Mail), "Subject: hello") {
			t.Errorf("mail is %q, want the message", row.Mail)
		}
	}
	// Compress has no effect on a text column that cannot hold every byte.
	for i, row := range b.rows(t)[2:] {
		mail := row.Mail
		if row.Body == newmail.BodyZlib {
			var raw []byte
			b.server.QueryRow(t, fmt.Sprintf("SELECT CAST(mail AS BINARY) FROM mail.%s ORDER BY mail_id LIMIT %d,1", b.table, 2+i), &raw)
			var err error
			if mail, err = newmail.Expand(row.Body, raw); err != nil {
				t.Fatalf("expand: %v", err)
			}
		}
		if !strings.Contains(string(mail), "Subject: hello") {
			t.Errorf("mail with Compress is %q, want the message", mail)
		}
	}
	reader, err := mysql.NewReader(b.options())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for i, row := range b.rows(t) {
		message, err := reader.Show(t.Context(), row.Hash)
		if !strings.Contains(string(message), "Subject: hello") || everyByte && string(message) != string(e.AppendBlob(nil, i%2)) {
			t.Errorf("Show returns %q, %v, want the message", message, err)
		}
	}
	if everyByte {
		var mail []byte
		b.server.QueryRow(t, "SELECT CAST(mail AS BINARY) FROM mail."+b.table+" ORDER BY mail_id LIMIT 1", &mail)
		if want := e.AppendBlob(nil, 0); string(mail) != string(want) {
			t.Errorf("mail is %q, want %q", mail, want)
		}
	}
}

// mustSave saves an envelope and requires that it is stored.
func mustSave(t *testing.T, s *mysql.Store, e *envelope.Envelope) {
	t.Helper()
	for _, err := range s.Save(t.Context(), []*envelope.Envelope{e}) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A column is the name of a column, its value in a row, and the expected value.
type column struct{ name, got, want string }

// checkColumns reports the columns with an unexpected value.
func checkColumns(t *testing.T, row string, columns ...column) {
	t.Helper()
	for _, c := range columns {
		if c.got != c.want {
			t.Errorf("%s: %s is %q, want %q", row, c.name, c.got, c.want)
		}
	}
}

// testCharsetExamples uses character sets that other programs define differently
// or do not have. The columns change while the store has a connection.
func testCharsetExamples(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	saveOne(t, s, nil)
	for _, tt := range []struct{ set, subject, to, old, want string }{
		{"greek", "a\u2019b", "b@example.com", "a?b", "a?b"},
		{"swe7", "[x]", "postmaster", "?x?", "?x?"},
		{"gbk", "\u4f60\u597d", "\u674e@example.com", "??", "\u4f60\u597d"},
		{"latin1", "\u4f60\u20ac", "\u00e9@example.com", "??", "?\u20ac"},
	} {
		b.server.Exec(t, "DELETE FROM mail."+b.table, "ALTER TABLE mail."+b.table+" CONVERT TO CHARACTER SET "+tt.set)
		e := storetest.Envelope(text, "postmaster")
		e.Info.Subject = tt.subject
		mustSave(t, s, e) // fitted to the old columns
		checkColumns(t, tt.set+", old columns", column{"subject", b.rows(t)[0].Subject, tt.old})
		fresh := b.open(t, nil)
		if err := fresh.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		e = storetest.Envelope(text, tt.to)
		e.Info.Subject = tt.subject
		if r := fresh.Fits(tt.to); r != nil {
			t.Errorf("%s: Fits(%q) = %v, want nil", tt.set, tt.to, r)
		}
		mustSave(t, fresh, e)
		fresh.Close()
		row := b.rows(t)[1]
		checkColumns(t, tt.set, column{"subject", row.Subject, tt.want}, column{"to", row.To, tt.to})
	}
}

// testDataError: a trigger rejects values that fit the columns, so the store
// saves the message with ASCII values.
func testDataError(t *testing.T, b *testbed) {
	b.create(t)
	b.server.Exec(t, "CREATE TRIGGER mail."+b.table+"_ascii BEFORE INSERT ON mail."+b.table+
		" FOR EACH ROW BEGIN DECLARE v varchar(300) CHARACTER SET ascii; SET v = NEW.subject; SET v = NEW.`from`; END")
	s := b.open(t, nil)
	defer s.Close()
	plain, odd := storetest.Envelope(text, "b@example.com"), storetest.Envelope(text, "c@example.com", "d@example.com")
	plain.Info.Subject, odd.Info.Subject = "plain", "na\u00efve"
	odd.From = "caf\u00e9@example.org"
	odd.Info.Attachments = []mailinfo.Attachment{{Name: "\u00e9", Type: "a/b", Size: 1}}
	mustSave(t, s, plain)
	mustSave(t, s, odd)
	rows := b.rows(t)
	if len(rows) != 3 || rows[0].Subject != "plain" {
		t.Fatalf("rows %+v, want three, the first with subject %q", rows, "plain")
	}
	for _, row := range rows[1:] {
		checkColumns(t, row.To, column{"subject", row.Subject, "na?ve"}, column{"from", row.From, "caf?@example.org"},
			column{"attach_info", row.AttachInfo, `[{"name":"\u00e9","type":"a/b","size":1}]`}, column{"recipient", row.Recipient, row.To})
	}
	// The store does not replace characters of an address.
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" MODIFY `to` varchar(99) CHARACTER SET utf8mb4 NOT NULL, MODIFY recipient varchar(99) CHARACTER SET utf8mb4 NOT NULL",
		"CREATE TRIGGER mail."+b.table+"_to BEFORE INSERT ON mail."+b.table+" FOR EACH ROW BEGIN DECLARE v varchar(300) CHARACTER SET ascii; SET v = NEW.`to`; END")
	fresh := b.open(t, nil)
	defer fresh.Close()
	errs := fresh.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, "\u00e9@example.com")})
	if !errors.Is(errs[0], savemail.ErrRejected) {
		t.Errorf("an address that the trigger rejects: outcome %v, want %v", errs[0], savemail.ErrRejected)
	}
	if rows := b.rows(t); len(rows) != 3 {
		t.Errorf("%d rows, want 3", len(rows))
	}
}
