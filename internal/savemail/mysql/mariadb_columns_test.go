package mysql_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

func testColumnSizes(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	long := strings.Repeat("x", 117) + "@example.com" // 129 characters
	if r := s.Fits(long); r != nil {
		t.Errorf("Fits before the columns are read: %v, want nil", r)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for address, code := range map[string]string{
		long[1:]:                     "",
		long:                         "5.1.3",
		"gr\u00fc\u20ac@example.com": "",
		"\u4e2d@example.com":         "5.6.7",
	} {
		got := ""
		if r := s.Fits(address); r != nil {
			got = r.Enhanced
		}
		if got != code {
			t.Errorf("Fits(%q) = %q, want %q", address, got, code)
		}
	}
	e := storetest.Envelope(text, "gr\u00fc\u20ac\u0081@example.com")
	e.From = "\u4e2d\u00fc@example.com"
	e.Info = mailinfo.Info{
		Subject:     strings.Repeat("\u4e2d", 250) + "\U0001F600\u00fc12345",
		Charset:     "UTF-8",
		ContentType: "text/plain",
		Attachments: []mailinfo.Attachment{{Name: "\U0001F600.txt", Type: "a/b", Size: 1}},
	}
	for _, err := range s.Save(t.Context(), []*envelope.Envelope{e}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	row := b.rows(t)[0]
	checkColumns(t, "row",
		column{"from", row.From, "?\u00fc@example.com"},
		column{"to", row.To, e.To[0].Address},
		column{"subject", row.Subject, strings.Repeat("\u4e2d", 250) + "?\u00fc123"},
		column{"attach_info", row.AttachInfo, `[{"name":"\ud83d\ude00.txt","type":"a/b","size":1}]`})
}

// testColumnChanges: the store detects that a column is narrowed, renamed or
// restored, and closes the statements that it prepared for the old columns.
func testColumnChanges(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	saveOne(t, s, nil)
	b.server.Exec(t, "DELETE FROM mail."+b.table,
		"ALTER TABLE mail."+b.table+" MODIFY `from` varchar(5) CHARACTER SET ascii NOT NULL")
	saveOne(t, s, nil)
	if rows := b.rows(t); rows[0].From != "a@exa" {
		t.Errorf("from is %q, want %q", rows[0].From, "a@exa")
	}
	prepared := func() int {
		value := b.server.Status(t, "Prepared_stmt_count")
		if value == "" {
			return 0 // TiDB does not count them
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := prepared()
	for width := 4; width > 0; width-- {
		b.server.Exec(t, "DELETE FROM mail."+b.table, fmt.Sprintf("ALTER TABLE mail.%s MODIFY `from` varchar(%d) CHARACTER SET ascii NOT NULL", b.table, width))
		saveOne(t, s, nil)
	}
	if after := prepared(); after > before {
		t.Errorf("%d prepared statements, %d before the table was changed", after, before)
	}
	// A dropped and an added column do not fail a message. Without a default, the server
	// refuses rows without a value.
	alter := "ALTER TABLE mail." + b.table
	for _, change := range []string{" DROP `charset`", " ADD `helo` varchar(255) NOT NULL", " DROP `helo`, ADD `size` int NOT NULL", " ADD `charset` varchar(5) NOT NULL"} {
		b.server.Exec(t, alter+change)
		saveOne(t, s, nil)
	}
	var size, all int
	b.server.QueryRow(t, fmt.Sprintf("SELECT SUM(size=%d) FROM mail.%s", len(text), b.table), &size)
	if size != 2 {
		t.Errorf("%d rows have the size of the message, want 2", size)
	}
	// With a default, Save notices the column when it reads the columns again.
	b.server.Exec(t, alter+" ADD `helo` varchar(255) NOT NULL DEFAULT ''")
	test.Await(t, nil, 20*time.Second, "the added column stays empty", func() error {
		if err := saveOne(t, s, nil); err != nil {
			return err
		}
		b.server.QueryRow(t, "SELECT COUNT(*) FROM mail."+b.table+" WHERE helo='client.example.org'", &all)
		if all == 0 {
			return errors.New("no row has a value")
		}
		return nil
	})
	b.server.Exec(t, alter+" CHANGE `hash` `h` varchar(32) NOT NULL DEFAULT ''")
	if err := saveOne(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), "lacks the columns hash") {
		t.Errorf("error %v, want the missing column hash", err)
	}
	b.server.Exec(t, alter+" CHANGE `h` `hash` char(32) NOT NULL, ADD KEY (`hash`)")
	awaitRecovery(t, s)
}

// testGenerated: the server fills generated columns itself, also those that the daemon
// knows.
func testGenerated(t *testing.T, b *testbed) {
	b.create(t)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD `size` int AS (LENGTH(`mail`)), ADD `sender` char(32) CHARACTER SET latin1 AS (`hash`) STORED,"+
		" ADD `tls` tinyint NOT NULL DEFAULT 7, ADD `mine` enum('a','b') NOT NULL, ADD `stamp` timestamp NOT NULL DEFAULT current_timestamp")
	s := b.open(t, nil)
	defer s.Close()
	saveOne(t, s, nil)
	var right int
	b.server.QueryRow(t, "SELECT COUNT(*) FROM mail."+b.table+" WHERE size=LENGTH(mail) AND sender=hash AND tls=7 AND mine='a'", &right)
	if right != 1 {
		t.Errorf("%d rows have the server's values, want 1", right)
	}
}

// testColumnTypes: no type of a column makes a message unstorable, and the daemon does
// not use a number as the index of an enum.
func testColumnTypes(t *testing.T, b *testbed) {
	b.create(t)
	for _, test := range []struct {
		column, where string // the condition on the new row
	}{
		{"tls enum('no','yes')", "tls IS NULL"},
		{"tls set('no','yes')", "tls IS NULL"},
		{"login uuid", "login IS NULL"},
		{"proxy inet6", "proxy IS NULL"},
		{"reply_to point", "reply_to IS NULL"},
		{"is_tls enum('0','1') NOT NULL", "is_tls='0'"},
		{"is_tls set('tls')", "is_tls IS NULL"},
		{"is_tls char(0)", "is_tls IS NULL"},
		{"helo char(0) NOT NULL", "helo=''"},
		{"helo varbinary(0) NOT NULL", "helo=''"},
		{"helo binary(3) NOT NULL", "helo='cli'"},
		{"message_id tinytext NOT NULL", "message_id='1@example.org'"},
		{"size tinyint NOT NULL", "size=127"},
		{"size tinyint unsigned NOT NULL", "size=255"},
		{"size smallint NOT NULL", "size=32767"},
		{"size mediumint NOT NULL", "size=50030"},
		{"size int unsigned NOT NULL", "size=50030"},
		{"size bigint NOT NULL", "size=50030"},
		{"size bit(8) NOT NULL", "size=255"},
		{"size bit(64) NOT NULL", "size=50030"},
		{"size decimal(5,1) NOT NULL", "size=9999"},
		{"size decimal(2,2) NOT NULL", "size=0"},
		{"size float NOT NULL", "size=50030"},
		{"size varchar(2) NOT NULL", "size='99'"},
		{"size char(2) CHARACTER SET utf32 NOT NULL", "size='99'"},
		{"size varbinary(20) NOT NULL", "size='50030'"},
		{"size inet6", "size IS NULL"},
		{"size geometry", "size IS NULL"},
	} {
		if servers.MySQL && ofMariaDB(test.column) {
			continue
		}
		b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD "+test.column)
		s := b.open(t, nil)
		e := storetest.Envelope("Message-ID: <1@example.org>\r\n\r\n"+strings.Repeat("x", 49_999), "b@example.com")
		if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
			t.Errorf("%s: %v", test.column, err)
		} else {
			var right int
			b.server.QueryRow(t, "SELECT COUNT(*) FROM mail."+b.table+" WHERE "+test.where, &right)
			if right != 1 {
				t.Errorf("%s: %d rows with %s, want 1", test.column, right, test.where)
			}
		}
		s.Close()
		name, _, _ := strings.Cut(test.column, " ")
		b.server.Exec(t, "DELETE FROM mail."+b.table, "ALTER TABLE mail."+b.table+" DROP "+name)
	}
	address := " MODIFY ip_addr varbinary(16) COMPRESSED NOT NULL"
	if servers.MySQL { // has no compressed columns
		address = " MODIFY ip_addr varbinary(16) NOT NULL"
	}
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" MODIFY body char(0) NOT NULL,"+address)
	s := b.open(t, func(o *mysql.Options) { o.Compress = true })
	defer s.Close()
	saveOne(t, s, nil)
	var stored string
	b.server.QueryRow(t, "SELECT INET6_NTOA(ip_addr) FROM mail."+b.table, &stored)
	if stored != "192.0.2.7" {
		t.Errorf("ip_addr is %q, want 192.0.2.7", stored)
	}
}

// ofMariaDB reports whether a definition has a type that MySQL lacks.
func ofMariaDB(definition string) bool {
	return strings.Contains(definition, "uuid") || strings.Contains(definition, "inet6")
}

// testTypeChanges: a column whose type is changed does not fail a message.
func testTypeChanges(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD size int NOT NULL, ADD helo varchar(255) NOT NULL, ADD sender varchar(255) NOT NULL")
	for _, change := range []string{
		"MODIFY size tinyint NOT NULL", "MODIFY size bit(3) NOT NULL", "MODIFY size varchar(1) NOT NULL", "DROP size, ADD size inet6",
		"DROP helo, ADD helo datetime", "DROP helo, ADD helo varchar(255)", "DROP helo, ADD helo uuid", "DROP helo, ADD helo varchar(255) NOT NULL",
		"DROP helo, ADD helo point", "DROP helo, ADD helo varchar(255) NOT NULL", "DROP helo, ADD helo varchar(99) AS (CONCAT(hash,'x'))",
	} {
		if servers.MySQL && ofMariaDB(change) {
			continue
		}
		saveOne(t, s, nil)
		b.server.Exec(t, "DELETE FROM mail."+b.table, "ALTER TABLE mail."+b.table+" "+change)
	}
	saveOne(t, s, nil)
}

// testColumnWidens: Save and Fits detect a widened column with a larger set.
func testColumnWidens(t *testing.T, b *testbed) { testWidens(t, b, "ascii") }

// testColumnLengthens: Save and Fits detect a widened column with the same set, the only
// change that TiDB allows.
func testColumnLengthens(t *testing.T, b *testbed) { testWidens(t, b, "utf8mb4") }

func testWidens(t *testing.T, b *testbed, set string) {
	t.Helper()
	b.create(t)
	alter := "ALTER TABLE mail." + b.table
	b.server.Exec(t, alter+" MODIFY `subject` varchar(5) CHARACTER SET "+set+" NOT NULL",
		alter+" MODIFY `to` varchar(20) CHARACTER SET "+set+" NOT NULL", alter+" MODIFY `recipient` varchar(20) CHARACTER SET "+set+" NOT NULL")
	s := b.open(t, nil)
	defer s.Close()
	const long = "a-recipient-with-a-long-name@example.com"
	saveOne(t, s, nil)
	if s.Fits(long) == nil {
		t.Fatalf("Fits(%s) = nil, want a refusal", long)
	}
	b.server.Exec(t, alter+" MODIFY `subject` varchar(255) CHARACTER SET utf8mb4 NOT NULL",
		alter+" MODIFY `to` varchar(255) CHARACTER SET utf8mb4 NOT NULL", alter+" MODIFY `recipient` varchar(255) CHARACTER SET utf8mb4 NOT NULL")
	test.Await(t, nil, 20*time.Second, "the recipient does not fit", func() error {
		if r := s.Fits(long); r != nil {
			return *r
		}
		return nil
	})
	e := storetest.Envelope("Subject: =?utf-8?q?=F0=9F=90=A7_and_more?=\r\n\r\n", long)
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	if rows := b.rows(t); len(rows) != 2 || rows[1].Subject != "🐧 and more" {
		t.Errorf("rows %+v, want two, the second with subject %q", rows, "🐧 and more")
	}
	// Save also detects a widened column if Fits has not refused a recipient.
	b.server.Exec(t, "DELETE FROM mail."+b.table, alter+" MODIFY `subject` varchar(5) CHARACTER SET "+set+" NOT NULL")
	saveOne(t, s, nil)
	b.server.Exec(t, alter+" MODIFY `subject` varchar(255) CHARACTER SET utf8mb4 NOT NULL")
	test.Await(t, nil, 20*time.Second, "the old limit remains", func() error {
		e := storetest.Envelope("Subject: a long subject\r\n\r\n", "b@example.com")
		if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
			return err
		}
		if rows := b.rows(t); rows[len(rows)-1].Subject != "a long subject" {
			return fmt.Errorf("subject %q", rows[len(rows)-1].Subject)
		}
		return nil
	})
}
