package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

// one saves one mail and wants this outcome.
func one(t *testing.T, s savemail.Store, kind error) error {
	t.Helper()
	err := save(t, s, "b@example.com")[0]
	if !errors.Is(err, kind) {
		t.Fatalf("outcome %v, want %v", err, kind)
	}
	return err
}

func testWidths(t *testing.T, b *bench) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	long := strings.Repeat("x", 117) + "@example.com" // 129
	if r := s.Fits(long); r != nil {
		t.Errorf("before the table is known: %v", r)
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
			t.Errorf("Fits(%q) is %q, want %q", address, got, code)
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
	for _, v := range []struct{ name, got, want string }{
		{"from", row.From, "?\u00fc@example.com"},
		{"to", row.To, e.To[0].Address},
		{"subject", row.Subject, strings.Repeat("\u4e2d", 250) + "?\u00fc123"},
		{"attach_info", row.AttachInfo, `[{"name":"\ud83d\ude00.txt","type":"a/b","size":1}]`},
	} {
		if v.got != v.want {
			t.Errorf("%s is %q, want %q", v.name, v.got, v.want)
		}
	}
}

// Envelopes that cannot be stored hurt no other.
func testGuilty(t *testing.T, b *bench) {
	b.create(t)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" MODIFY mail blob NOT NULL, ADD UNIQUE (`to`)")
	b.global(t, "sql_mode", "", "DEFAULT")
	s := b.open(t, nil)
	defer s.Close()
	big := storetest.Envelope(strings.Repeat("x", 70_000), "big@example.com")
	long := storetest.Envelope(text, strings.Repeat("x", 200)+"@example.com")
	good := storetest.Envelope(text, "good@example.com")
	errs := s.Save(t.Context(), []*envelope.Envelope{big, good, long})
	if !errors.Is(errs[0], savemail.ErrRejected) || errs[1] != nil || !errors.Is(errs[2], savemail.ErrRejected) {
		t.Errorf("outcomes %v", errs)
	}
	// The database finds this one, and only the Committer can tell it apart.
	for _, err := range save(t, s, "new@example.com", "good@example.com") {
		if !errors.Is(err, savemail.ErrRejected) {
			t.Errorf("duplicate entry: %v", err)
		}
	}
	one(t, s, nil)
	if rows := b.rows(t); len(rows) != 2 {
		t.Errorf("%d rows", len(rows))
	}
}

// The store notices a column that is widened, narrowed or dropped, and closes the
// statements that it prepared for the old columns.
func testColumnChanges(t *testing.T, b *bench) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	one(t, s, nil)
	b.server.Exec(t, "DELETE FROM mail."+b.table,
		"ALTER TABLE mail."+b.table+" MODIFY `from` varchar(5) CHARACTER SET ascii NOT NULL")
	one(t, s, nil)
	if rows := b.rows(t); rows[0].From != "a@exa" {
		t.Errorf("from is %q", rows[0].From)
	}
	const status = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='PREPARED_STMT_COUNT'"
	var before, after int
	b.server.QueryRow(t, status, &before)
	for width := 4; width > 0; width-- {
		b.server.Exec(t, "DELETE FROM mail."+b.table, fmt.Sprintf("ALTER TABLE mail.%s MODIFY `from` varchar(%d) CHARACTER SET ascii NOT NULL", b.table, width))
		one(t, s, nil)
	}
	if b.server.QueryRow(t, status, &after); after > before {
		t.Errorf("%d statements are prepared, %d before the table was changed", after, before)
	}
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" CHANGE `charset` `cs` varchar(5) NOT NULL DEFAULT ''")
	if err := one(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), "lacks the columns charset") {
		t.Error(err)
	}
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" CHANGE `cs` `charset` varchar(5) NOT NULL")
	awaitSave(t, s)
}

// A column that is widened is noticed by the next Save, and by the recipients that
// it refused.
func testColumnWidens(t *testing.T, b *bench) {
	b.create(t)
	alter := "ALTER TABLE mail." + b.table
	b.server.Exec(t, alter+" MODIFY `subject` varchar(5) CHARACTER SET ascii NOT NULL",
		alter+" MODIFY `to` varchar(20) CHARACTER SET ascii NOT NULL", alter+" MODIFY `recipient` varchar(20) CHARACTER SET ascii NOT NULL")
	s := b.open(t, nil)
	defer s.Close()
	const long = "somebody-with-a-long-name@example.com"
	one(t, s, nil)
	if s.Fits(long) == nil {
		t.Fatalf("%s fits", long)
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
		t.Errorf("rows %+v", rows)
	}
	// Saves alone notice it as well.
	b.server.Exec(t, "DELETE FROM mail."+b.table, alter+" MODIFY `subject` varchar(5) CHARACTER SET ascii NOT NULL")
	one(t, s, nil)
	b.server.Exec(t, alter+" MODIFY `subject` varchar(255) CHARACTER SET utf8mb4 NOT NULL")
	test.Await(t, nil, 20*time.Second, "the old limit goes on", func() error {
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

// awaitSave waits for the store's return.
func awaitSave(t *testing.T, s savemail.Store) {
	t.Helper()
	test.Await(t, nil, 20*time.Second, "the store does not come back", func() error {
		err := save(t, s, "b@example.com")[0]
		if errors.Is(err, savemail.ErrRejected) || errors.Is(err, savemail.ErrUnknown) {
			t.Errorf("while it comes back: %v", err)
		}
		return err
	})
}

func testMissingTable(t *testing.T, b *bench) {
	b.create(t)
	b.server.Exec(t, "DROP TABLE mail."+b.table) // the rights stay
	s := b.open(t, nil)
	defer s.Close()
	if err := one(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), b.table+"` does not exist") {
		t.Error(err)
	}
	b.create(t)
	awaitSave(t, s)
	b.server.Exec(t, "DROP TABLE mail."+b.table)
	one(t, s, savemail.ErrUnavailable)
	b.create(t)
	awaitSave(t, s)
}

func testWrongPassword(t *testing.T, b *bench) {
	b.create(t)
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.User, o.Pass = []string{b.server.Addr}, "other", "wrong" })
	defer s.Close()
	one(t, s, savemail.ErrUnavailable)
	b.server.Exec(t, "CREATE USER other@`%` IDENTIFIED BY 'right'")
	if err := s.Check(t.Context()); !errors.Is(err, savemail.ErrUnavailable) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("Check: %v", err)
	}
	b.server.Exec(t, "ALTER USER other@`%` IDENTIFIED BY 'wrong'", "GRANT SELECT ON mail."+b.table+" TO other@`%`")
	time.Sleep(10 * time.Millisecond)
	one(t, s, savemail.ErrUnavailable) // may not insert
	b.server.Exec(t, "GRANT INSERT ON mail."+b.table+" TO other@`%`")
	awaitSave(t, s)
}

func testOperatorsColumns(t *testing.T, b *bench) {
	b.create(t)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD mine varchar(10) NOT NULL")
	s := b.open(t, nil)
	defer s.Close()
	if err := one(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), "mine") {
		t.Error(err)
	}
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" MODIFY mine varchar(10) NOT NULL DEFAULT 'x'")
	awaitSave(t, s)
}

// At the end of mail_id's numbers it is not the mails that are at fault.
func testNumbersUsedUp(t *testing.T, b *bench) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" AUTO_INCREMENT=2147483647")
	one(t, s, nil)
	one(t, s, savemail.ErrUnavailable)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" MODIFY mail_id bigint NOT NULL AUTO_INCREMENT")
	awaitSave(t, s)
}

func testTLS(t *testing.T, b *bench) {
	b.create(t)
	b.server.Exec(t, "CREATE USER tls@`%` IDENTIFIED BY 'x' REQUIRE SSL", "GRANT INSERT, SELECT ON mail."+b.table+" TO tls@`%`")
	for mode, kind := range map[string]error{
		mysql.TLSOff:        savemail.ErrUnavailable,
		mysql.TLSPreferred:  nil,
		mysql.TLSSkipVerify: nil,
		mysql.TLSVerify:     nil,
	} {
		s := b.open(t, func(o *mysql.Options) {
			o.Hosts, o.User, o.Pass, o.TLS = []string{b.server.Addr}, "tls", "x", mode
		})
		one(t, s, kind)
		s.Close()
	}
	_, port, _ := strings.Cut(b.server.Addr, ":")
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.TLS = []string{"localhost:" + port}, mysql.TLSVerify })
	defer s.Close()
	if err := one(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	if _, err := mysql.New(mysql.Options{Hosts: []string{"x"}, TLS: "maybe"}); err == nil {
		t.Error("an unknown mode is accepted")
	}
}

func testPacket(t *testing.T, b *bench) {
	b.create(t)
	b.global(t, "max_allowed_packet", "65536", "16777216")
	s := b.open(t, func(o *mysql.Options) { o.MaxMessage = 131072 })
	defer s.Close()
	var batch []*envelope.Envelope
	for _, size := range []int{100, 50_000, 60_000, 70_000, 5_000_000, 30_000} {
		batch = append(batch, storetest.Envelope(strings.Repeat("y", size), fmt.Sprintf("u%d@example.com", size)))
	}
	for i, err := range s.Save(t.Context(), batch) {
		if size := batch[i].Size(); errors.Is(err, savemail.ErrRejected) != (size > 65_000) || (err == nil) != (size < 65_000) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if rows := b.rows(t); len(rows) != 4 {
		t.Errorf("%d rows", len(rows))
	}
	if !strings.Contains(b.log.String(), "max_allowed_packet=65536") {
		t.Errorf("log: %s", b.log)
	}
}

func testReadOnly(t *testing.T, b *bench) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	one(t, s, nil)
	b.global(t, "read_only", "1", "0")
	one(t, s, savemail.ErrUnavailable)
	if err := s.Check(t.Context()); !errors.Is(err, savemail.ErrUnavailable) {
		t.Errorf("Check: %v", err)
	}
	b.server.Exec(t, "SET GLOBAL read_only=0")
	awaitSave(t, s)
}

func testWarnings(t *testing.T, b *bench) {
	b.create(t)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ENGINE=MyISAM, MODIFY mail longtext CHARACTER SET latin1 NOT NULL")
	b.global(t, "innodb_flush_log_at_trx_commit", "2", "1")
	s := b.open(t, nil)
	defer s.Close()
	for range 2 {
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{"setting=innodb_flush_log_at_trx_commit value=2", "engine=MyISAM", "type=longtext"} {
		if n := strings.Count(b.log.String(), part); n != 1 {
			t.Errorf("%q is logged %d times:\n%s", part, n, b.log)
		}
	}
}
