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
	"goguerrillad/internal/test/storetest"
)

// everything has ASCII's punctuation, and letters of which each set lacks some.
const everything = " !\"#$%&'()*+,-./0:;<=>?@A[\\]^_`a{|}~ \u00e9\u2019\u4f60\u597d\u03b1\u05d0\u00a0\U0001F600end"

// testCharsets has a table in each character set of the server: no message is
// rejected, what the set has is stored unchanged, and RCPT refuses the
// addresses that the server does not return as they were.
func testCharsets(t *testing.T, b *bench) {
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
			one := *b
			one.table += "_" + set
			testCharset(t, &one, set)
		})
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func testCharset(t *testing.T, b *bench, set string) {
	b.create(t)
	b.recreate(t, set)
	s := b.open(t, nil)
	defer s.Close()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := func(text string) (got string) {
		switch set {
		case "binary":
			return text
		case "utf8": // TiDB's CONVERT keeps what an INSERT refuses
			return strings.ReplaceAll(text, "\U0001F600", "?")
		}
		b.server.QueryRow(t, fmt.Sprintf("SELECT CONVERT(CONVERT(_utf8mb4 x'%x' USING %s) USING utf8mb4)", text, set), &got)
		return got
	}
	to := []string{"postmaster"}
	for _, r := range everything {
		address := string(r) + "\u674e@example.com"
		for _, address := range []string{address, string(r), string(r) + "@example.com"} {
			fits := kept(address) == address
			if (s.Fits(address) == nil) != fits {
				t.Errorf("Fits(%q): %v, want a refusal: %v", address, s.Fits(address), !fits)
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
	store(t, s, e)
	list := b.rows(t)
	if len(list) != len(to) {
		t.Fatalf("%d rows, want %d", len(list), len(to))
	}
	for i, row := range list {
		if row.To != to[i] || row.Recipient != to[i] || row.Hash != e.To[i].Hash {
			t.Errorf("%q is stored as %q and %q, hash %s", to[i], row.To, row.Recipient, row.Hash)
		}
		if row.Subject != kept(everything) || row.From != kept(e.From) || row.Charset != kept(e.Info.Charset) {
			t.Fatalf("subject %q, want %q; from %q, charset %q", row.Subject, kept(everything), row.From, row.Charset)
		}
		if string(row.Mail) != string(e.AppendBlob(nil, i)) {
			t.Errorf("mail is %q", row.Mail)
		}
	}
	testTexts(t, b, s, set, set == "binary" || set == "latin1" && kept("\u4f60") == "?") // TiDB's latin1 is UTF-8
}

// recreate makes the table again in a character set, with parts of the schema
// replaced.
func (b *bench) recreate(t *testing.T, set string, oldnew ...string) {
	t.Helper()
	schema := strings.NewReplacer(append(oldnew, "`new_mail`", "mail."+b.table,
		"character set latin1", "character set "+set, "CHARSET=utf8", "CHARSET="+set)...).Replace(mysql.Schema)
	b.server.Exec(t, "DROP TABLE mail."+b.table, schema)
}

// testTexts makes columns small, and mail a text: still nothing is rejected. The
// set may have a character for every byte.
func testTexts(t *testing.T, b *bench, s *mysql.Store, set string, everyByte bool) {
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
		store(t, s, e)
	}
	for _, row := range b.rows(t)[:2] {
		if !strings.Contains(string(row.Mail), "Subject: hello") {
			t.Errorf("mail is %q", row.Mail)
		}
	}
	// What is compressed can be expanded; text in two or more bytes is no zlib.
	for i, row := range b.rows(t)[2:] {
		mail := row.Mail
		if row.Body == newmail.BodyZlib {
			var raw []byte
			b.server.QueryRow(t, fmt.Sprintf("SELECT CAST(mail AS BINARY) FROM mail.%s ORDER BY mail_id LIMIT %d,1", b.table, 2+i), &raw)
			var err error
			if mail, err = newmail.Expand(row.Body, raw); err != nil {
				t.Fatalf("compressed: %v", err)
			}
		}
		if !strings.Contains(string(mail), "Subject: hello") {
			t.Errorf("mail of the compressing store is %q", mail)
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
			t.Errorf("Show returns %q, %v", message, err)
		}
	}
	if everyByte {
		var mail []byte
		b.server.QueryRow(t, "SELECT CAST(mail AS BINARY) FROM mail."+b.table+" ORDER BY mail_id LIMIT 1", &mail)
		if string(mail) != string(e.AppendBlob(nil, 0)) {
			t.Errorf("mail is %q", mail)
		}
	}
}

// store saves an envelope, which must not be rejected.
func store(t *testing.T, s *mysql.Store, e *envelope.Envelope) {
	t.Helper()
	for _, err := range s.Save(t.Context(), []*envelope.Envelope{e}) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// testCharsetExamples has sets that differ from what other programs have under
// their names, or that no table of a library has. The store is open when the
// columns change.
func testCharsetExamples(t *testing.T, b *bench) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	one(t, s, nil)
	for _, tt := range []struct{ set, subject, to, old, want string }{
		{"greek", "a\u2019b", "b@example.com", "a?b", "a?b"},
		{"swe7", "[x]", "postmaster", "?x?", "?x?"},
		{"gbk", "\u4f60\u597d", "\u674e@example.com", "??", "\u4f60\u597d"},
		{"latin1", "\u4f60\u20ac", "\u00e9@example.com", "??", "?\u20ac"},
	} {
		b.server.Exec(t, "DELETE FROM mail."+b.table, "ALTER TABLE mail."+b.table+" CONVERT TO CHARACTER SET "+tt.set)
		e := storetest.Envelope(text, "postmaster")
		e.Info.Subject = tt.subject
		store(t, s, e) // fitted to the old columns
		if got := b.rows(t)[0].Subject; got != tt.old {
			t.Errorf("%s, old connection: subject %q, want %q", tt.set, got, tt.old)
		}
		fresh := b.open(t, nil)
		if err := fresh.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		e = storetest.Envelope(text, tt.to)
		e.Info.Subject = tt.subject
		if r := fresh.Fits(tt.to); r != nil {
			t.Errorf("%s: %q gets %v", tt.set, tt.to, r)
		}
		store(t, fresh, e)
		fresh.Close()
		if row := b.rows(t)[1]; row.Subject != tt.want || row.To != tt.to {
			t.Errorf("%s: subject %q, want %q, to %q", tt.set, row.Subject, tt.want, row.To)
		}
	}
}

// testDataError has a trigger that fails for values which fit the columns. No
// retry of the sender would help, so the message is stored with other values.
func testDataError(t *testing.T, b *bench) {
	b.create(t)
	b.server.Exec(t, "CREATE TRIGGER mail."+b.table+"_ascii BEFORE INSERT ON mail."+b.table+
		" FOR EACH ROW BEGIN DECLARE v varchar(300) CHARACTER SET ascii; SET v = NEW.subject; SET v = NEW.`from`; END")
	s := b.open(t, nil)
	defer s.Close()
	plain, odd := storetest.Envelope(text, "b@example.com"), storetest.Envelope(text, "c@example.com", "d@example.com")
	plain.Info.Subject, odd.Info.Subject = "plain", "na\u00efve"
	odd.From = "caf\u00e9@example.org"
	odd.Info.Attachments = []mailinfo.Attachment{{Name: "\u00e9", Type: "a/b", Size: 1}}
	store(t, s, plain)
	store(t, s, odd)
	rows := b.rows(t)
	if len(rows) != 3 || rows[0].Subject != "plain" {
		t.Fatalf("rows are %+v", rows)
	}
	for _, row := range rows[1:] {
		if row.Subject != "na?ve" || row.From != "caf?@example.org" || row.AttachInfo != `[{"name":"\u00e9","type":"a/b","size":1}]` || row.Recipient != row.To {
			t.Errorf("row is %+v", row)
		}
	}
	// An address is stored as it is or not at all.
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" MODIFY `to` varchar(99) CHARACTER SET utf8mb4 NOT NULL, MODIFY recipient varchar(99) CHARACTER SET utf8mb4 NOT NULL",
		"CREATE TRIGGER mail."+b.table+"_to BEFORE INSERT ON mail."+b.table+" FOR EACH ROW BEGIN DECLARE v varchar(300) CHARACTER SET ascii; SET v = NEW.`to`; END")
	fresh := b.open(t, nil)
	defer fresh.Close()
	errs := fresh.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, "\u00e9@example.com")})
	if !errors.Is(errs[0], savemail.ErrRejected) || len(b.rows(t)) != 3 {
		t.Errorf("the address that the trigger rejects: %v", errs[0])
	}
}
