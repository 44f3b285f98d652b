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

// testRecipients: the query finds exactly the given address, whatever characters it
// has. An invalid query and an unavailable database cause different errors.
func testRecipients(t *testing.T, b *testbed) {
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
			t.Errorf("Has(%q, %q) = %v, %v, want %v", tt.address, tt.domain, got, err, tt.want)
		}
	}
	b.server.Exec(t, "ALTER TABLE "+table+" ADD COLUMN more int")
	if got, err := r.Has(t.Context(), "a@b", "b"); !got || err != nil {
		t.Errorf("after the table has changed: %v, %v, want true", got, err)
	}
	b.server.Exec(t, "DELETE FROM "+table)
	if got, err := r.Has(t.Context(), "a@b", "b"); got || err != nil {
		t.Errorf("after the rows were deleted: %v, %v, want false", got, err)
	}

	bad := recipients(t, b.options(), "SELECT 1 FROM missing WHERE address=:address")
	if _, err := bad.Has(t.Context(), "a@b", "b"); !errors.Is(err, recipient.ErrInvalid) {
		t.Errorf("missing table: %v, want ErrInvalid", err)
	}
	wrong := b.options()
	wrong.Pass = "wrong"
	if _, err := recipients(t, wrong, "SELECT 1").Has(t.Context(), "a@b", "b"); err == nil || errors.Is(err, recipient.ErrInvalid) {
		t.Errorf("wrong password: %v, want an error other than ErrInvalid", err)
	}
}

// testRecipientsHosts: the first host that replies answers the query, a host that
// hangs delays one query, and the number of connections is bounded.
func testRecipientsHosts(t *testing.T, b *testbed) {
	b.create(t)
	proxy := servers.StartTCPProxy(t, b.server.Addr)
	o := b.options()
	o.Hosts = []string{"127.0.0.1:1", proxy.Addr, b.server.Socket}
	r := recipients(t, o, "SELECT SLEEP(0.01) FROM DUAL WHERE :address<>''")
	var wait sync.WaitGroup
	query := func(n int) {
		t.Helper()
		for i := range n {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if got, err := r.Has(ctx, fmt.Sprint(i), "b"); !got || err != nil {
					t.Errorf("Has = %v, %v, want true", got, err)
				}
			})
		}
		wait.Wait()
	}
	query(50)
	var connections int
	if err := b.db.QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE user=? AND host LIKE '127.0.0.1%'", b.server.User).Scan(&connections); err != nil {
		t.Fatal(err)
	}
	if connections > recipient.Connections+2 { // 2 of the test
		t.Errorf("%d connections, want at most %d", connections, recipient.Connections+2)
	}
	proxy.Inject(servers.TCPFault{ToClient: true, Hang: true})
	query(1)
	query(50) // too many for the deadline if each waited for the host that hangs
}
