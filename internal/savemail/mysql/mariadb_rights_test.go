package mysql_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/servers"
)

// TestGrantsInPage: docs/first-hour.md grants the rights that the manual lists.
func TestGrantsInPage(t *testing.T) {
	page := test.ReadSource(t, "docs/first-hour.md")
	for _, grant := range servers.Grants(t) {
		if !strings.Contains(page, "\n"+grant+"\n") {
			t.Errorf("the page lacks %s", grant)
		}
	}
}

// testRights: the rights in the manual are sufficient to settle an outcome. Without
// SELECT the store logs a warning, and the outcome is immediately unknown.
func testRights(t *testing.T, b *testbed) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	viaProxy := func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} }
	s := b.open(t, viaProxy)
	defer s.Close()
	saveOne(t, s, nil)
	proxy.Once("VALUES", mysqlproxy.Fault{Part: 2})
	saveOne(t, s, nil)
	if log := b.log.String(); strings.Contains(log, "cannot be settled") {
		t.Errorf("warning with all rights: %s", log)
	}
	b.server.Exec(t, "REVOKE SELECT ON mail."+b.table+" FROM `"+b.server.User+"`@`%`")
	less := b.open(t, viaProxy)
	defer less.Close()
	for range 2 {
		saveOne(t, less, nil)
		proxy.Once("VALUES", mysqlproxy.Fault{Part: 2})
		start := time.Now()
		saveOne(t, less, savemail.ErrUnknown)
		if d := time.Since(start); d > time.Second {
			t.Errorf("unknown after %v, want at most 1s", d)
		}
	}
	log := b.log.String()
	grant := "GRANT SELECT ON `mail`.`" + b.table + "` TO `" + b.server.User + "`@`%`"
	if strings.Count(log, "cannot be settled") != 1 || !strings.Contains(log, `needed=SELECT grant="`+grant+`"`) {
		t.Errorf("want exactly one warning, with %s: %s", grant, log)
	}
	// An administrator runs the statement without a database of his own.
	b.server.Exec(t, grant)
	granted := b.open(t, viaProxy)
	defer granted.Close()
	saveOne(t, granted, nil)
	proxy.Once("VALUES", mysqlproxy.Fault{Part: 2})
	saveOne(t, granted, nil)
	b.server.Exec(t, "REVOKE SELECT, INSERT ON mail."+b.table+" FROM `"+b.server.User+"`@`%`")
	none := b.open(t, viaProxy)
	defer none.Close()
	if err := saveOne(t, none, savemail.ErrUnavailable); errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("without INSERT: outcome %v, want not ErrUnknown", err)
	}
}
