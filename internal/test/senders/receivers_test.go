package senders_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/senders"
)

// TestReceivers checks that each message that a receiver accepts is in its maildir when the
// queue is empty.
func TestReceivers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	for name, start := range map[string]func(test.T) *senders.Receiver{
		"exim": senders.EximMaildir, "opensmtpd": senders.OpenSMTPDMaildir,
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			c, err := client.Connect(r.Addr, 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Hello(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				reply, err := c.Send("a@b.com", "", []string{"test@example.com"}, []byte("Subject: x\r\n\r\nx\r\n"))
				if err != nil || reply.Code != 250 {
					t.Fatalf("%v, %v\n%s", reply, err, r.Log())
				}
			}
			test.Await(t, nil, 20*time.Second, "wait for the deliveries", func() error {
				files, err := os.ReadDir(filepath.Join(r.Maildir, "new"))
				if err != nil || len(files) != 3 || r.Queued() {
					return fmt.Errorf("%d messages, queued %v, %v\n%s", len(files), r.Queued(), err, r.Log())
				}
				return nil
			})
		})
	}
}
