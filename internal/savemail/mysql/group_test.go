//go:build mysql

package mysql_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// TestGroupReplication: a member crashes when its group has a transaction that is not in
// its binary log. The member does not have the row after its restart, so the message
// must not be sent again.
func TestGroupReplication(t *testing.T) {
	disk := servers.NewDisk(t, 64)
	g := servers.StartGroup(t, 3, "--log-bin="+filepath.Join(disk.Dir, "binlog"))
	primary, secondary := g.Members[0], g.Members[1].Connect(t)
	b := &testbed{parent: t, server: primary, db: primary.Connect(t), table: "new_mail", log: &test.Log{}}
	s := b.open(t, func(o *mysql.Options) { o.Timeout = time.Minute })
	defer s.Close()
	saveOne(t, s, nil)
	disk.Fill(t)
	outcome := make(chan error, 1)
	go func() { outcome <- save(t, s, "b@example.com")[0] }()
	test.Await(t, nil, 30*time.Second, "the group does not have the message", func() error {
		var n int
		if err := secondary.QueryRow("SELECT COUNT(*) FROM new_mail").Scan(&n); err != nil || n != 2 {
			return fmt.Errorf("%d rows, want 2: %w", n, err)
		}
		return nil
	})
	primary.Kill()
	disk.Empty(t)
	primary.StartAlone(t)
	if err := <-outcome; !errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome %v, want %v", err, savemail.ErrUnknown)
	}
	if n := len(b.rows(t)); n != 1 {
		t.Errorf("the crashed member has %d rows, want 1", n)
	}
}
