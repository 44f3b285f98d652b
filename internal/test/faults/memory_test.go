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
	"goguerrillad/internal/test/servers"
)

// A cgroup limits the memory of its processes (cgroups(7)).
type cgroup struct {
	dir                string
	limit, usage, kill string // names of the files with the limit, the memory in use, and the number of OOM kills
}

// newCgroup creates a cgroup, of version 1 or 2.
func newCgroup(t *testing.T, bytes int64) *cgroup {
	t.Helper()
	test.NeedRoot(t)
	name := fmt.Sprintf("goguerrillad-test-%d", os.Getpid())
	g := &cgroup{filepath.Join("/sys/fs/cgroup", name), "memory.max", "memory.current", "memory.events"}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		g = &cgroup{filepath.Join("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Fatalf("create a cgroup: %v", err)
	}
	t.Cleanup(func() {
		test.Await(t, nil, 10*time.Second, "removing the cgroup", func() error { return os.Remove(g.dir) })
	})
	if err := g.setLimit(bytes); err != nil {
		t.Fatalf("set the memory limit: %v", err)
	}
	return g
}

// setLimit sets the memory limit. It fails if the processes use more and the kernel
// cannot reclaim enough.
func (g *cgroup) setLimit(bytes int64) error {
	return os.WriteFile(filepath.Join(g.dir, g.limit), []byte(strconv.FormatInt(bytes, 10)), 0)
}

// limitToUsage sets the limit to the memory in use. It ignores an error of setLimit, since
// the processes may have allocated more memory meanwhile.
func (g *cgroup) limitToUsage(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.usage))
	if err != nil {
		t.Fatal(err)
	}
	used, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	_ = g.setLimit(used)
}

// wrapper returns a command that executes another command in the cgroup.
func (g *cgroup) wrapper() []string {
	return []string{"sh", "-c", `echo $$ >` + g.dir + `/cgroup.procs; exec "$@"`, "sh"}
}

// kills returns the number of processes that the kernel has killed for lack of memory.
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

// TestFaultsMemory: clients cannot make the daemon exceed the memory limit of its service,
// and an OOM kill loses no acknowledged message.
func TestFaultsMemory(t *testing.T) {
	const limit = 96 << 20
	d := shared.Daemon(t, map[string]string{"GSMTP_TIMEOUT": "20", "GSMTP_MAX_SIZE": "4000000", "GSMTP_MEMORY": strconv.Itoa(limit / 4)})
	g := newCgroup(t, limit)
	d.Wrapper = g.wrapper()
	// With cgroups of version 2 the daemon would set this limit itself.
	d.Env = []string{"GOMEMLIMIT=" + strconv.Itoa(limit*9/10)}
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: openFile(t, d)}
	w.startLoad(t)
	w.apply(t, fault{
		name:  "100 concurrent messages of 4 MB with 96 MiB",
		start: func(t *testing.T) { sendLarge(t, d.Addr, 100, 3_900_000) },
	})
	if n := g.kills(t); n != 0 {
		t.Errorf("%d OOM kills, want 0\n%s", n, w.logs())
	}
	times := 1
	if long() {
		times = 20
	}
	for i := range times {
		w.apply(t, fault{
			name: "OOM kill",
			start: func(t *testing.T) {
				var all sync.WaitGroup
				killed := make(chan struct{})
				all.Go(func() {
					for {
						select {
						case <-killed:
							return
						default:
							sendLarge(t, d.Addr, 20, 3_900_000)
						}
					}
				})
				time.Sleep(between(w.rand, 0, 200*time.Millisecond))
				test.Await(t, nil, time.Minute, "waiting for an OOM kill", func() error {
					if g.kills(t) > i {
						return nil
					}
					g.limitToUsage(t)
					return errors.New("no process was killed")
				})
				close(killed)
				all.Wait()
			},
			end: func(t *testing.T) {
				if err := g.setLimit(limit); err != nil {
					t.Fatal(err)
				}
				d.Start(w.parent)
			},
		})
	}
	w.ledger.print(t)
}

// TestDefaultMemory: with the default sizes, clients cannot make the daemon exceed 256 MiB. It
// warns of less.
func TestDefaultMemory(t *testing.T) {
	const limit = 256 << 20
	server := servers.MariaDB(t, "--max-allowed-packet=64M")
	server.CreateTable(t, "new_mail")
	for name, keys := range map[string]map[string]string{"SQLite": nil, "MariaDB": server.Keys()} {
		t.Run(name, func(t *testing.T) {
			d := shared.Daemon(t, map[string]string{"GSMTP_MAX_SIZE": "26214400", "GSMTP_MEMORY": strconv.Itoa(100 << 20)})
			if keys != nil {
				d.Configure(t, map[string]string{"SQLITE_FILE": ""})
				d.Configure(t, keys)
			}
			g := newCgroup(t, limit)
			d.Wrapper = g.wrapper()
			d.Env = []string{"GOMEMLIMIT=" + strconv.Itoa((limit-100<<20)/10*9)} // as with cgroups of version 2
			d.Start(t)
			sendLarge(t, d.Addr, 20, 26_000_000)
			if n := g.kills(t); n != 0 {
				t.Errorf("%d OOM kills, want 0\n%s", n, d.Log())
			}
			if n := strings.Count(d.Log(), `msg="message accepted"`); n < 5 {
				t.Errorf("%d messages were accepted, want more\n%s", n, d.Log())
			}
		})
	}
}

// sendLarge sends large messages concurrently. It ignores lost connections and the replies
// 4xx.
func sendLarge(t *testing.T, addr string, clients, size int) {
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
				t.Errorf("large message: reply %v, want 250 or 4xx", r)
			}
		})
	}
	all.Wait()
}
