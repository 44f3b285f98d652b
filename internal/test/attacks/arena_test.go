package attacks

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
)

// What all tests of the package share.
var shared = daemon.NewSuite("attacks")

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// The daemon's limits in these tests.
const (
	timeout      = 4 // seconds: GSMTP_TIMEOUT
	maxClients   = 200
	maxPerIP     = 60
	maxSize      = 4_000_000        // bytes of a message
	memory       = 16 << 20         // bytes: GSMTP_MEMORY
	goodPatience = 10 * time.Second // what a well-behaved client may wait at most
)

// An attack is what one kind of hostile client does. The bounds hold while it
// lasts.
type attack struct {
	name string
	run  func(t *testing.T, a *arena)
	more int64 // bytes of memory that it may cost, at most; 0: leastMemory
	keys map[string]string
}

// leastMemory is the bound of an attack that holds no message: stacks, the
// collector's slack, and what the good client needs.
const leastMemory = 16 << 20

// An arena is a daemon under attack, with a well-behaved client beside.
type arena struct {
	*daemon.Daemon
	cert *test.Certificate

	quit    chan struct{}
	beside  sync.WaitGroup
	before  int64 // bytes of memory at rest
	mu      sync.Mutex
	served  int           // good mails
	slowest time.Duration // of them
	failed  []string      // good mails that were not taken
	files   int           // descriptors, at most
}

// newArena starts a daemon and what watches it.
func newArena(t *testing.T, keys map[string]string) *arena {
	t.Helper()
	d := shared.Daemon(t, map[string]string{
		"GSMTP_TIMEOUT": strconv.Itoa(timeout), "GM_MAX_CLIENTS": strconv.Itoa(maxClients), "GM_MAX_CLIENTS_PER_IP": strconv.Itoa(maxPerIP),
		"GSMTP_MAX_SIZE": strconv.Itoa(maxSize), "GSMTP_MEMORY": strconv.Itoa(memory), "GM_ALLOWED_HOSTS": "example.com",
	})
	a := &arena{Daemon: d, cert: test.NewCertificate(t, d.Dir, "mx"), quit: make(chan struct{})}
	d.Configure(t, map[string]string{"GSMTP_PUB_KEY": a.cert.CertFile, "GSMTP_PRV_KEY": a.cert.KeyFile})
	d.Configure(t, keys)
	d.Start(t)
	for range 3 { // store and buffers are warm
		if err := a.good(); err != nil {
			t.Fatal(err)
		}
	}
	a.before = a.Memory(t, "VmHWM")
	a.beside.Go(a.behave)
	a.beside.Go(a.watch)
	return a
}

// dial connects from one of the loopback addresses: 127.0.0.n.
func (a *arena) dial(n int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(n))}, Timeout: goodPatience}
	return d.Dial("tcp", a.Addr)
}

// enter is a session of the attackers' that has said EHLO; every exchange has
// half a minute.
func (a *arena) enter(t *testing.T) *client.Client {
	t.Helper()
	conn, err := a.dial(66)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, err := client.New(conn, 30*time.Second)
	if err == nil {
		err = c.Hello()
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// good is one mail of a client that does everything as it should.
func (a *arena) good() error {
	conn, err := a.dial(2)
	if err != nil {
		return err
	}
	c, err := client.New(conn, goodPatience)
	if err != nil {
		return err
	}
	defer c.Close()
	if c.Greeting.Code != 220 {
		return errors.New(c.Greeting.String())
	}
	if err := c.Hello(); err != nil {
		return err
	}
	r, err := c.Send("good@example.org", "", []string{"good@example.com"}, []byte("Subject: good\r\n\r\ntext\r\n"))
	if err != nil {
		return err
	}
	if r.Code != 250 {
		return errors.New(r.String())
	}
	_, err = c.Expect(221, "QUIT")
	return err
}

// behave sends a good mail, again and again.
func (a *arena) behave() {
	for {
		begun := time.Now()
		err := a.good()
		took := time.Since(begun)
		a.mu.Lock()
		a.served++
		a.slowest = max(a.slowest, took)
		if err != nil {
			a.failed = append(a.failed, fmt.Sprintf("after %v: %v", took, err))
		}
		a.mu.Unlock()
		select {
		case <-a.quit:
			return
		case <-time.After(20 * time.Millisecond): // a client that is not in a hurry
		}
	}
}

// watch counts descriptors.
func (a *arena) watch() {
	for {
		n := a.Descriptors()
		a.mu.Lock()
		a.files = max(a.files, n)
		a.mu.Unlock()
		select {
		case <-a.quit:
			return
		case <-time.After(10 * time.Millisecond): // a peak that is shorter is missed
		}
	}
}

// end stops the good client, wants everything given back, and ends the daemon.
func (a *arena) end(t *testing.T) {
	t.Helper()
	close(a.quit)
	a.beside.Wait()
	// The store's files, the sockets and the loops; each idle session is one more.
	test.Await(t, a.Process(), 3*timeout*time.Second, "descriptors are not given back", func() error {
		if n := a.Descriptors(); n > 25 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit status %d\n%s", code, a.tail())
	}
	if strings.Contains(a.Log(), "internal error") {
		t.Errorf("an internal error\n%s", a.tail())
	}
}

func (a *arena) tail() string {
	log := a.Log()
	return log[max(0, len(log)-10_000):]
}

// TestAttacks runs every attack on a daemon of its own and prints a table.
func TestAttacks(t *testing.T) {
	shared.Daemon(t, nil) // it knows whether all of this is to be skipped
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "attack\tmemory more, MiB\tallowed\tdescriptors\tgood mails\tslowest\ttook")
	for _, attacks := range [][]attack{floods(), storms(), bombs()} {
		for _, x := range attacks {
			t.Run(x.name, func(t *testing.T) {
				a := newArena(t, x.keys)
				begun := time.Now()
				x.run(t, a)
				took := time.Since(begun)
				more := a.Memory(t, "VmHWM") - a.before
				a.end(t)
				if x.more == 0 {
					x.more = leastMemory
				}
				if more > x.more {
					t.Errorf("%d MiB of memory more, want at most %d", more>>20, x.more>>20)
				}
				if a.files > maxClients+40 {
					t.Errorf("%d descriptors", a.files)
				}
				if len(a.failed) > 0 || a.slowest > goodPatience {
					t.Errorf("the well-behaved client: slowest %v, failed %q\n%s", a.slowest, a.failed, a.tail())
				}
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%v\t%v\n", x.name, more>>20, x.more>>20, a.files, a.served,
					a.slowest.Round(time.Millisecond), took.Round(100*time.Millisecond))
			})
		}
	}
	w.Flush()
	t.Logf("GM_MAX_CLIENTS %d, %d per address, GSMTP_MEMORY %d MiB, GSMTP_TIMEOUT %d s\n%s", maxClients, maxPerIP, memory>>20, timeout, table.String())
}
