package mysql_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/servers"
)

// TestGrantsInReadme: README.md and the manual have the same GRANT statements.
func TestGrantsInReadme(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^GRANT .*;$`).FindAllString(string(readme), -1)
	if want := servers.Grants(t); strings.Join(found, "\n") != strings.Join(want, "\n") {
		t.Errorf("README has %q, the manual %q", found, want)
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
