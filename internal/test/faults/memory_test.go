package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
)

// A cgroup bounds the memory of the processes in it.
type cgroup struct {
	dir                string
	limit, usage, kill string // files: the bound, what is used, and how often it has cost a life
}

// newCgroup makes one by the first or the second version of cgroups.
func newCgroup(t *testing.T, bytes int64) *cgroup {
	t.Helper()
	test.NeedRoot(t)
	name := fmt.Sprintf("goguerrillad-test-%d", os.Getpid())
	g := &cgroup{filepath.Join("/sys/fs/cgroup", name), "memory.max", "memory.current", "memory.events"}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		g = &cgroup{filepath.Join("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Fatalf("make a cgroup: %v", err)
	}
	t.Cleanup(func() {
		test.Await(t, nil, 10*time.Second, "the cgroup stays", func() error { return os.Remove(g.dir) })
	})
	if err := g.bound(bytes); err != nil {
		t.Fatalf("bound the memory: %v", err)
	}
	return g
}

// bound fails when the processes cannot do with so little.
func (g *cgroup) bound(bytes int64) error {
	return os.WriteFile(filepath.Join(g.dir, g.limit), []byte(strconv.FormatInt(bytes, 10)), 0)
}

// squeeze leaves no more memory than there is in use. It may have become more
// or less meanwhile.
func (g *cgroup) squeeze(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.usage))
	if err != nil {
		t.Fatal(err)
	}
	used, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	_ = g.bound(used)
}

// under is a command that executes another one in the cgroup.
func (g *cgroup) under() []string {
	return []string{"sh", "-c", `echo $$ >` + g.dir + `/cgroup.procs; exec "$@"`, "sh"}
}

// kills is how many processes have been killed for want of memory.
func (g *cgroup) kills(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.kill))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no oom_kill in %s", text)
	return 0
}

// TestFaultsMemory: the memory that a service is given is enough, whatever
// clients do; and taking it away costs no mail that was acknowledged.
func TestFaultsMemory(t *testing.T) {
	const limit = 96 << 20
	d := shared.Daemon(t, map[string]string{"GSMTP_TIMEOUT": "20", "GSMTP_MAX_SIZE": "4000000", "GSMTP_MEMORY": strconv.Itoa(limit / 4)})
	g := newCgroup(t, limit)
	d.Under = g.under()
	// As the daemon does itself where cgroups are of the second version.
	d.Env = []string{"GOMEMLIMIT=" + strconv.Itoa(limit*9/10)}
	d.Start(t)
	w := &world{whole: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: openFile(t, d)}
	w.startLoad(t)
	w.befall(t, fault{
		name: "100 mails of 4 MB at a time, 96 MiB for all",
		ail:  func(t *testing.T) { crowd(t, d.Addr, 100, 3_900_000) },
	})
	if n := g.kills(t); n != 0 {
		t.Errorf("killed %d times for want of memory\n%s", n, w.logs())
	}
	w.whole = t
	times := 1
	if long() {
		times = 20
	}
	for i := range times {
		w.befall(t, fault{
			name: "killed for want of memory",
			ail: func(t *testing.T) {
				var all sync.WaitGroup
				killed := make(chan struct{})
				all.Go(func() {
					for {
						select {
						case <-killed:
							return
						default:
							crowd(t, d.Addr, 20, 3_900_000)
						}
					}
				})
				time.Sleep(between(w.rand, 0, 200*time.Millisecond))
				test.Await(t, nil, time.Minute, "nobody is killed", func() error {
					if g.kills(t) > i {
						return nil
					}
					g.squeeze(t)
					return errors.New("not yet")
				})
				close(killed)
				all.Wait()
			},
			mend: func(t *testing.T) {
				if err := g.bound(limit); err != nil {
					t.Fatal(err)
				}
				d.Start(w.whole)
			},
		})
	}
	w.ledger.print(t)
}

// crowd sends large mails at a time; those that are refused for now, or cut
// off with the daemon, are none of its business.
func crowd(t *testing.T, addr string, clients, size int) {
	text := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat([]byte("0123456789abcdef0123456789abcd\r\n"), size/32)...)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			c, err := client.Connect(addr, 60*time.Second)
			if err != nil {
				return
			}
			defer c.Close()
			if c.Hello() != nil {
				return
			}
			r, err := c.Send("large@example.org", "", []string{"large@example.com"}, text)
			if err == nil && r.Code/100 == 5 {
				t.Errorf("a large mail: %v", r)
			}
		})
	}
	all.Wait()
}
