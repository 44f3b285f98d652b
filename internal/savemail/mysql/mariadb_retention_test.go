package mysql_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test/storetest"
)

// expireAll calls Expire until there is nothing more to delete, and returns the number of
// rows.
func expireAll(t *testing.T, s *mysql.Store, keep time.Duration) (rows int) {
	t.Helper()
	for range 1000 {
		e, err := s.Expire(t.Context(), time.Now().Add(-keep))
		if err != nil {
			t.Fatal(err)
		}
		rows += e.Rows
		if !e.More {
			return rows
		}
	}
	t.Fatal("no end after 1,000 pieces")
	return
}

// saveAt saves n messages whose Received field has a time.
func saveAt(t *testing.T, s *mysql.Store, n int, at time.Time) {
	t.Helper()
	for range n {
		e := storetest.Envelope(text, "b@example.com")
		e.Date = at
		if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
			t.Fatal(err)
		}
	}
}

// createExpiring creates the table, and grants the right to delete.
func (b *testbed) createExpiring(t *testing.T) {
	t.Helper()
	b.create(t)
	b.server.GrantDelete(t, b.table)
}

func (b *testbed) count(t *testing.T, want int) {
	t.Helper()
	if got := len(b.rows(t)); got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
}

// testExpireDates: the date decides, also if another program has set it.
func testExpireDates(t *testing.T, b *testbed) {
	b.createExpiring(t)
	s := b.open(t, nil)
	defer s.Close()
	saveAt(t, s, 3, time.Now())
	b.server.Exec(t, "UPDATE mail."+b.table+" SET `date`=`date`-INTERVAL 2 HOUR LIMIT 1")
	b.server.Exec(t, "INSERT INTO mail."+b.table+" SELECT NULL,NOW()-INTERVAL 3 DAY,`from`,`to`,subject,body,charset,'',spam_score,MD5(hash),content_type,recipient,has_attach,ip_addr,delivered,attach_info,dkim_valid FROM mail."+b.table)
	if got := expireAll(t, s, time.Hour); got != 4 {
		t.Errorf("%d rows deleted, want 4", got)
	}
	b.count(t, 2)
}

// testExpireSameKey: without mail_id the hash identifies a row, and a young row with the hash
// of an old one stays.
func testExpireSameKey(t *testing.T, b *testbed) {
	b.createExpiring(t)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" DROP COLUMN mail_id")
	s := b.open(t, nil)
	defer s.Close()
	saveAt(t, s, 2, time.Now())
	b.server.Exec(t, "UPDATE mail."+b.table+" SET `hash`='', `date`=`date`-INTERVAL 2 HOUR LIMIT 1", "UPDATE mail."+b.table+" SET `hash`=''")
	if got := expireAll(t, s, time.Hour); got != 1 {
		t.Errorf("%d rows deleted, want 1", got)
	}
	b.count(t, 1)
}

// testExpireZone: no message is deleted too early after a change of the server's time zone,
// and the old ones are deleted in spite of the others, unless their date is too late.
func testExpireZone(t *testing.T, b *testbed) {
	for zones, want := range map[[2]string]int{{"+00:00", "+12:00"}: 50, {"+12:00", "-12:00"}: 0, {"-12:00", "+05:45"}: 50} {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprint(zones, " compressed ", compress), func(t *testing.T) {
				b.global(t, "time_zone", "'"+zones[0]+"'", "'SYSTEM'")
				b.server.Exec(t, "DROP TABLE IF EXISTS mail."+b.table)
				b.createExpiring(t)
				compressed := func(o *mysql.Options) { o.Compress = compress }
				s := b.open(t, compressed)
				saveAt(t, s, 300, time.Now().Add(-3*time.Minute))
				saveAt(t, s, 50, time.Now().Add(-20*time.Hour))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				b.server.Exec(t, "UPDATE mail."+b.table+" SET `date`=`date`-INTERVAL 20 HOUR ORDER BY mail_id DESC LIMIT 50")
				b.global(t, "time_zone", "'"+zones[1]+"'", "'SYSTEM'")
				s = b.open(t, compressed)
				defer s.Close()
				saveAt(t, s, 10, time.Now())
				if got := expireAll(t, s, time.Hour); got != want {
					t.Errorf("%d rows deleted, want %d", got, want)
				}
				b.count(t, 360-want)
			})
		}
	}
}

// testExpireRedis: a row whose message is in Redis has no Received field, and stays until it
// is old enough in every time zone.
func testExpireRedis(t *testing.T, b *testbed) {
	b.createExpiring(t)
	s := b.open(t, nil)
	defer s.Close()
	for range 12 {
		e := storetest.Envelope(text, "b@example.com")
		e.To[0].InRedis = true
		if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
			t.Fatal(err)
		}
	}
	b.server.Exec(t, "UPDATE mail."+b.table+" SET `date`=`date`-INTERVAL 26 HOUR")
	if got := expireAll(t, s, time.Hour); got != 0 {
		t.Errorf("%d rows deleted after a change of the zone, want 0", got)
	}
	b.server.Exec(t, "UPDATE mail."+b.table+" SET `date`=`date`-INTERVAL 2 HOUR ORDER BY mail_id DESC LIMIT 8")
	if got := expireAll(t, s, time.Hour); got != 8 {
		t.Errorf("%d rows deleted, want 8", got)
	}
	b.count(t, 4)
}

// testExpireDaemons: one of two daemons deletes; the other one follows when it has stopped.
func testExpireDaemons(t *testing.T, b *testbed) {
	b.createExpiring(t)
	first, second := b.open(t, nil), b.open(t, nil)
	defer second.Close()
	saveAt(t, first, 12, time.Now())
	b.server.Exec(t, "UPDATE mail."+b.table+" SET `date`=`date`-INTERVAL 2 DAY")
	if e, err := first.Expire(t.Context(), time.Now().Add(-time.Hour)); err != nil || e.Rows == 0 || e.Rows == 12 {
		t.Fatalf("Expire returns %+v, %v", e, err)
	}
	if e, err := second.Expire(t.Context(), time.Now().Add(-time.Hour)); err != nil || e.Rows != 0 || e.More {
		t.Errorf("the second Expire returns %+v, %v", e, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	expireAll(t, second, time.Hour)
	b.count(t, 0)
}

// testExpireLocked: a row that a consumer locks stays and delays no other.
func testExpireLocked(t *testing.T, b *testbed) {
	b.createExpiring(t)
	s := b.open(t, nil)
	defer s.Close()
	saveAt(t, s, 9, time.Now())
	b.server.Exec(t, "UPDATE mail."+b.table+" SET `date`=`date`-INTERVAL 2 DAY")
	consumer, err := b.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.Exec("SELECT 1 FROM " + b.table + " WHERE mail_id=3 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	locked := 9 - expireAll(t, s, time.Hour)
	if err := consumer.Rollback(); err != nil {
		t.Fatal(err)
	}
	if locked != 1 {
		t.Errorf("%d rows are left, want the locked one", locked)
	}
	expireAll(t, s, time.Hour)
	b.count(t, 0)
}

// testExpireImpossible: the error names the statement that makes it possible.
func testExpireImpossible(t *testing.T, b *testbed) {
	b.create(t)
	b.server.Exec(t, "CREATE OR REPLACE USER keeper@localhost IDENTIFIED BY 'secret'", "GRANT SELECT, INSERT ON mail."+b.table+" TO keeper@localhost")
	fails := func(want string) {
		t.Helper()
		s := b.open(t, func(o *mysql.Options) { o.User, o.Pass = "keeper", "secret" })
		defer s.Close()
		if _, err := s.Expire(t.Context(), time.Now()); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Expire returns %v, want %q", err, want)
		}
	}
	fails("want GRANT DELETE ON `mail`.`" + b.table + "` TO `keeper`@`localhost`")
	b.server.Exec(t, "GRANT DELETE ON mail."+b.table+" TO keeper@localhost")
	fails("")
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" DROP KEY `date`")
	fails("want ALTER TABLE `" + b.table + "` ADD KEY `date` (`date`)")
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD KEY (`date`), DROP KEY `hash`, DROP COLUMN mail_id")
	fails("want ALTER TABLE `" + b.table + "` ADD KEY `hash` (`hash`)")
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" DROP COLUMN `date`")
	fails("needs the column date")
}
