package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test/servers"
)

func recipients(t *testing.T, o mysql.Options, text string) *mysql.Recipients {
	t.Helper()
	q, err := recipient.Parse(text, recipient.MySQL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := mysql.NewRecipients(o, q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// testRecipients: rows decide, whatever the addresses hold, and a refusal of
// the query is told from a database that is away.
func testRecipients(t *testing.T, b *bench) {
	table := "mail." + b.table + "_boxes"
	b.server.Exec(t, "CREATE TABLE "+table+" (address varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, domain varchar(255) NOT NULL)")
	defer b.server.Exec(t, "DROP TABLE "+table)
	b.server.Exec(t, "GRANT SELECT ON "+table+" TO `"+b.server.User+"`@`%`")
	b.server.Exec(t, "INSERT INTO "+table+" VALUES ('a@b', ''), ('\u00fc\U0001f4e7@b', ''), ('', 'c')")
	r := recipients(t, b.options(), "SELECT NULL FROM "+table+" WHERE address=:address OR domain=:domain # :x\n")
	for _, tt := range []struct {
		address, domain string
		want            bool
	}{
		{"a@b", "b", true}, {"A@b", "b", false}, {"x@c", "c", true}, {"\u00fc\U0001f4e7@b", "b", true}, {"\u00fc@b", "b", false},
		{"' OR '1'='1", "\\' OR 1=1 -- ", false}, {"\x00\xff", "b", false},
	} {
		if got, err := r.Has(t.Context(), tt.address, tt.domain); got != tt.want || err != nil {
			t.Errorf("%q: %v, %v", tt.address, got, err)
		}
	}
	b.server.Exec(t, "ALTER TABLE "+table+" ADD COLUMN more int")
	if got, err := r.Has(t.Context(), "a@b", "b"); !got || err != nil {
		t.Errorf("after the table has changed: %v, %v", got, err)
	}
	b.server.Exec(t, "DELETE FROM "+table)
	if got, err := r.Has(t.Context(), "a@b", "b"); got || err != nil {
		t.Errorf("after it has gone: %v, %v", got, err)
	}

	bad := recipients(t, b.options(), "SELECT 1 FROM missing WHERE address=:address")
	if _, err := bad.Has(t.Context(), "a@b", "b"); !errors.Is(err, recipient.ErrInvalid) {
		t.Errorf("no such table: %v", err)
	}
	wrong := b.options()
	wrong.Pass = "wrong"
	if _, err := recipients(t, wrong, "SELECT 1").Has(t.Context(), "a@b", "b"); err == nil || errors.Is(err, recipient.ErrInvalid) {
		t.Errorf("wrong password: %v", err)
	}
}

// testRecipientsHosts: of several hosts the first that answers is asked, a
// hung one costs little, and their connections are few.
func testRecipientsHosts(t *testing.T, b *bench) {
	b.create(t)
	wire := servers.StartWire(t, b.server.Addr)
	o := b.options()
	o.Hosts = []string{"127.0.0.1:1", wire.Addr, b.server.Socket}
	r := recipients(t, o, "SELECT SLEEP(0.01) FROM DUAL WHERE :address<>''")
	var wait sync.WaitGroup
	ask := func(n int) {
		t.Helper()
		for i := range n {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if got, err := r.Has(ctx, fmt.Sprint(i), "b"); !got || err != nil {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		wait.Wait()
	}
	ask(50)
	var connections int
	if err := b.db.QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE user=? AND host LIKE '127.0.0.1%'", b.server.User).Scan(&connections); err != nil {
		t.Fatal(err)
	}
	if connections > recipient.Connections+2 { // and those of the test
		t.Errorf("%d connections", connections)
	}
	wire.Snip(servers.Snip{Back: true, Hang: true})
	ask(1)
	ask(50) // were it asked again, not all would come to the next in time
}
