package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// saveOne saves one message and requires the given outcome.
func saveOne(t *testing.T, s savemail.Store, want error) error {
	t.Helper()
	err := save(t, s, "b@example.com")[0]
	if !errors.Is(err, want) {
		t.Fatalf("outcome %v, want %v", err, want)
	}
	return err
}

// testRejectedEnvelopes: an envelope that cannot be stored does not affect the
// other envelopes of its batch.
func testRejectedEnvelopes(t *testing.T, b *testbed) {
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
		t.Errorf("outcomes %v, want rejected, nil, rejected", errs)
	}
	// The server rejects the whole statement. The Committer divides the batch.
	for _, err := range save(t, s, "new@example.com", "good@example.com") {
		if !errors.Is(err, savemail.ErrRejected) {
			t.Errorf("duplicate entry: outcome %v, want %v", err, savemail.ErrRejected)
		}
	}
	saveOne(t, s, nil)
	if rows := b.rows(t); len(rows) != 2 {
		t.Errorf("%d rows, want 2", len(rows))
	}
}

// awaitRecovery waits until the store saves a message.
func awaitRecovery(t *testing.T, s savemail.Store) {
	t.Helper()
	test.Await(t, nil, 20*time.Second, "the store stays unavailable", func() error {
		err := save(t, s, "b@example.com")[0]
		if errors.Is(err, savemail.ErrRejected) || errors.Is(err, savemail.ErrUnknown) {
			t.Errorf("outcome during the recovery: %v, want nil or %v", err, savemail.ErrUnavailable)
		}
		return err
	})
}

func testMissingTable(t *testing.T, b *testbed) {
	b.create(t)
	b.server.Exec(t, "DROP TABLE mail."+b.table) // the rights remain
	s := b.open(t, nil)
	defer s.Close()
	if err := saveOne(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), b.table+"`: the table does not exist") {
		t.Errorf("error %v, want the missing table", err)
	}
	b.create(t)
	awaitRecovery(t, s)
	b.server.Exec(t, "DROP TABLE mail."+b.table)
	saveOne(t, s, savemail.ErrUnavailable)
	b.create(t)
	awaitRecovery(t, s)
}

func testWrongPassword(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.User, o.Pass = []string{b.server.Addr}, "other", "wrong" })
	defer s.Close()
	saveOne(t, s, savemail.ErrUnavailable)
	b.server.Exec(t, "CREATE USER other@`%` IDENTIFIED BY 'right'")
	if err := s.Check(t.Context()); !errors.Is(err, savemail.ErrUnavailable) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("Check: %v, want ErrUnavailable without the password", err)
	}
	b.server.Exec(t, "ALTER USER other@`%` IDENTIFIED BY 'wrong'", "GRANT SELECT ON mail."+b.table+" TO other@`%`")
	time.Sleep(10 * time.Millisecond)
	saveOne(t, s, savemail.ErrUnavailable) // no right to INSERT
	b.server.Exec(t, "GRANT INSERT ON mail."+b.table+" TO other@`%`")
	awaitRecovery(t, s)
}

func testOperatorsColumns(t *testing.T, b *testbed) {
	b.create(t)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD mine varchar(10) NOT NULL, ADD yours int NOT NULL")
	s := b.open(t, nil)
	defer s.Close()
	report := saveOne(t, s, savemail.ErrUnavailable).Error()
	if servers.MySQL { // checks only rows, so the log of the connection names the columns
		report = b.log.String()
	}
	if !strings.Contains(report, "mine, yours") {
		t.Errorf("%s, want the columns mine and yours", report)
	}
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" MODIFY mine varchar(10) NOT NULL DEFAULT 'x', DROP yours")
	awaitRecovery(t, s)
}

// testNoMailIDLeft: without a free mail_id, the store is unavailable. It does not
// reject messages.
func testNoMailIDLeft(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" AUTO_INCREMENT=2147483647")
	saveOne(t, s, nil)
	saveOne(t, s, savemail.ErrUnavailable)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" MODIFY mail_id bigint NOT NULL AUTO_INCREMENT")
	awaitRecovery(t, s)
}

func testTLS(t *testing.T, b *testbed) {
	b.create(t)
	b.server.Exec(t, "CREATE USER tls@`%` IDENTIFIED BY 'x' REQUIRE SSL", "GRANT INSERT, SELECT ON mail."+b.table+" TO tls@`%`")
	for mode, outcome := range map[string]error{
		"N":           savemail.ErrUnavailable,
		"preferred":   nil,
		"skip-verify": nil,
		"Y":           nil,
	} {
		s := b.open(t, func(o *mysql.Options) {
			o.Hosts, o.User, o.Pass, o.TLS = []string{b.server.Addr}, "tls", "x", mode
		})
		saveOne(t, s, outcome)
		s.Close()
	}
	_, port, _ := strings.Cut(b.server.Addr, ":")
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.TLS = []string{"localhost:" + port}, "Y" })
	defer s.Close()
	if err := saveOne(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error %v, want the certificate", err)
	}
	if _, err := mysql.New(mysql.Options{Hosts: []string{"x"}, TLS: "maybe"}); err == nil {
		t.Error("New accepts the TLS mode \"maybe\"")
	}
}

func testPacket(t *testing.T, b *testbed) {
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
			t.Errorf("%d bytes: outcome %v, want rejected: %v", size, err, size > 65_000)
		}
	}
	if rows := b.rows(t); len(rows) != 4 {
		t.Errorf("%d rows, want 4", len(rows))
	}
	_, rest, warned := strings.Cut(b.log.String(), `max_allowed_packet=65536 needed=1048576 statement="`)
	statement, _, _ := strings.Cut(rest, `"`)
	if !warned {
		t.Fatalf("no warning about max_allowed_packet in the log: %s", b.log)
	}
	b.server.Exec(t, statement)
	raised := b.open(t, func(o *mysql.Options) { o.MaxMessage = 131072 })
	defer raised.Close()
	if err := raised.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(strings.Repeat("y", 131072), "b@example.com")})[0]; err != nil {
		t.Errorf("after %s: %v", statement, err)
	}
	if n := strings.Count(b.log.String(), "max_allowed_packet of the MySQL server"); n != 1 {
		t.Errorf("%d warnings, want one before %s", n, statement)
	}
}

// testNarrow: the store logs once for each form of the table what the columns lose, and
// nothing for the table that we ship and for the table of later versions.
func testNarrow(t *testing.T, b *testbed) {
	const warning = "MySQL table is too narrow for some values"
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	for _, step := range []struct{ change, column, want string }{
		{"ENGINE=InnoDB", "from cuts senders after 128 characters and replaces characters outside latin1; to refuses ", "ip_addr cuts IPv6 addresses"},
		{"MODIFY `from` varchar(5) NOT NULL, MODIFY ip_addr varchar(39) NOT NULL", "from cuts senders after 5 characters", "attach_info replaces characters outside utf8"},
	} {
		log := len(b.log.String())
		b.server.Exec(t, "DELETE FROM mail."+b.table, "ALTER TABLE mail."+b.table+" "+step.change)
		saveOne(t, s, nil)
		saveOne(t, s, nil)
		if log := b.log.String()[log:]; strings.Count(log, warning) != 1 || !strings.Contains(log, step.column) || !strings.Contains(log, step.want) {
			t.Errorf("after %s, want one warning with %q and %q: %s", step.change, step.column, step.want, log)
		}
	}
	log := len(b.log.String())
	for _, table := range storetest.Tables(t) {
		if table.Name != "shipped" && table.Name != "later, processor sql" {
			continue
		}
		b.replace(t, table)
		fresh := b.open(t, nil)
		saveOne(t, fresh, nil)
		if err := fresh.Close(); err != nil || len(b.log.String()) > log {
			t.Errorf("%s: %v, want no warning: %s", table.Name, err, b.log.String()[log:])
		}
	}
}

func testReadOnly(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	saveOne(t, s, nil)
	b.global(t, "read_only", "1", "0")
	saveOne(t, s, savemail.ErrUnavailable)
	if err := s.Check(t.Context()); !errors.Is(err, savemail.ErrUnavailable) {
		t.Errorf("Check: %v, want ErrUnavailable", err)
	}
	b.server.Exec(t, "SET GLOBAL read_only=0")
	awaitRecovery(t, s)
}

func testWarnings(t *testing.T, b *testbed) {
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
			t.Errorf("%q is logged %d times, want once:\n%s", part, n, b.log)
		}
	}
}
