package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// killedMessages is the number of messages that arrive while programs are killed.
const killedMessages = 200

// TestVerdictsKilled kills two programs at random while messages arrive, stops and starts
// rspamd, and kills PostgreSQL. Each row must have its verdict in the end.
func TestVerdictsKilled(t *testing.T) {
	random := rand.New(rand.NewPCG(test.Seed(t), 0))
	v := newVerdicts(t)
	signed := v.sign(t, "example.org", plain("me@example.org"))
	messages := map[string]string{"valid@example.com": signed, "invalid@example.com": strings.Replace(signed, "The text", "The test", 1)}
	whole := t // rspamd outlives a store
	for _, store := range []string{"sqlite", "mysql", "postgres"} {
		t.Run(store, func(t *testing.T) {
			j := v.daemon(t, store, false, map[string]string{})
			var senders sync.WaitGroup
			sendHalf := func() {
				for to, message := range messages {
					c := j.session(t, permitted, "mail.example.org")
					senders.Go(func() {
						defer c.Close()
						for range killedMessages / 4 {
							if r, err := c.Send("me@example.org", "", []string{to}, []byte(message)); err != nil || r.Code != 250 {
								t.Errorf("reply %v, %v", r, err)
								return
							}
						}
					})
				}
			}
			sendHalf()
			programs := []*test.Process{j.start(t), j.start(t)}
			kills := 0
			// kill kills a program after its log contains text n times, or after all
			// rows have a verdict, and starts it again.
			kill := func(text string, n int) {
				t.Helper()
				i := random.IntN(2)
				test.Await(t, programs[i], 30*time.Second, "waiting for "+text, func() error {
					if got := strings.Count(programs[i].Output(), text); got < n && j.left(t) > 0 {
						return fmt.Errorf("%d times, want %d", got, n)
					}
					return nil
				})
				programs[i].Kill()
				programs[i] = j.start(t)
				kills++
			}
			for range 10 {
				kill("score", random.IntN(8))
			}
			if err := v.rspamd.Stop(); err != nil {
				t.Errorf("rspamd: %v", err)
			}
			senders.Wait()
			sendHalf()
			for range 4 {
				kill("rspamd unavailable", 1)
			}
			senders.Wait()
			left := j.left(t)
			v.rspamd.Start(whole)
			for i := range 10 {
				kill("score", random.IntN(8))
				if j.pg != nil && i == 1 {
					crash(t, j, programs)
				}
			}
			j.await(t, programs[0], 0)
			t.Logf("%d kills, %d rows had no verdict when rspamd started again", kills, left)
			if left == 0 {
				t.Error("all rows had a verdict before rspamd started again")
			}
			for to := range messages {
				got, want := j.rows(t, to, false), int64(0)
				if to == "valid@example.com" {
					want = 1
				}
				if len(got) != killedMessages/2 {
					t.Errorf("%s: %d rows, want %d", to, len(got), killedMessages/2)
				}
				for _, one := range got {
					if one.dkim.Int64 != want || one.score < 3 || one.score > 5 {
						t.Fatalf("%s: got %v, want dkim_valid %d", to, one, want)
					}
				}
			}
		})
	}
}

// crash kills PostgreSQL and starts it again. The programs exit, and start again as by
// systemd, with the other form of the connection string and a file of passwords.
func crash(t *testing.T, j *judged, programs []*test.Process) {
	t.Helper()
	left := j.left(t)
	j.pg.Kill()
	for _, p := range programs {
		test.Await(t, nil, 30*time.Second, "waiting for the exit of a program", func() error {
			select {
			case <-p.Done():
				return nil
			default:
				return errors.New("it is running")
			}
		})
	}
	j.pg.Start(t)
	t.Logf("PostgreSQL killed: %d rows had no verdict before, %d after", left, j.left(t))
	passwords := test.WriteFile(t, t.TempDir(), "pgpass", "127.0.0.1:"+j.pg.Port()+":"+j.pg.DB+":verdicts:a long password\n")
	if err := os.Chmod(passwords, 0o600); err != nil {
		t.Fatal(err)
	}
	j.env = []string{"PGPASSFILE=" + passwords}
	j.args[slices.Index(j.args, "--postgres")+1] = "host=127.0.0.1 port=" + j.pg.Port() + " dbname=" + j.pg.DB + " user=verdicts"
	for i := range programs {
		programs[i] = j.start(t)
	}
}
