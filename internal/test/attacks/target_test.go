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

// shared holds the program and the MariaDB server that the tests share.
var shared = daemon.NewSuite("attacks")

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// The limits in these tests.
const (
	timeout     = 4 // seconds: GSMTP_TIMEOUT
	maxClients  = 200
	maxPerIP    = 60
	maxSize     = 4_000_000        // bytes of a message
	memory      = 16 << 20         // bytes: GSMTP_MEMORY
	maxGoodTime = 10 * time.Second // for one message of the well-behaved client
)

// An attack is the behaviour of one kind of hostile client.
type attack struct {
	name      string
	run       func(t *testing.T, a *target)
	maxGrowth int64 // bytes by which the daemon's memory may grow; 0: baseGrowth
	keys      map[string]string
}

// baseGrowth is the maxGrowth of an attack without messages. It covers stacks, garbage that
// is not yet collected, and the messages of the well-behaved client.
const baseGrowth = 16 << 20

// A target is a daemon under attack, with a well-behaved client.
type target struct {
	*daemon.Daemon
	cert *test.Certificate

	quit       chan struct{}
	background sync.WaitGroup
	before     int64 // the daemon's bytes of memory before the attack

	mu          sync.Mutex
	served      int           // messages of the well-behaved client
	slowest     time.Duration // the longest time of one of these messages
	failed      []string      // errors of the well-behaved client
	descriptors int           // the highest number of descriptors
}

// newTarget starts a daemon and its well-behaved client.
func newTarget(t *testing.T, keys map[string]string) *target {
	t.Helper()
	d := shared.Daemon(t, map[string]string{
		"GSMTP_TIMEOUT": strconv.Itoa(timeout), "GM_MAX_CLIENTS": strconv.Itoa(maxClients), "GM_MAX_CLIENTS_PER_IP": strconv.Itoa(maxPerIP),
		"GSMTP_MAX_SIZE": strconv.Itoa(maxSize), "GSMTP_MEMORY": strconv.Itoa(memory), "GM_ALLOWED_HOSTS": "example.com",
	})
	a := &target{Daemon: d, cert: test.NewCertificate(t, d.Dir, "mx"), quit: make(chan struct{})}
	d.Configure(t, map[string]string{"GSMTP_PUB_KEY": a.cert.CertFile, "GSMTP_PRV_KEY": a.cert.KeyFile})
	d.Configure(t, keys)
	d.Start(t)
	for range 3 { // the daemon allocates the buffers of its store and of its loops
		if err := a.sendGood(); err != nil {
			t.Fatal(err)
		}
	}
	a.before = a.Memory(t, "VmHWM")
	a.background.Go(a.runGoodClient)
	a.background.Go(a.countDescriptors)
	return a
}

// dial connects from the address 127.0.0.n.
func (a *target) dial(n int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(n))}, Timeout: maxGoodTime}
	return d.Dial("tcp", a.Addr)
}

// connect opens a session of an attacker and sends EHLO. The timeout of each reply is 30 s.
func (a *target) connect(t *testing.T) *client.Client {
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

// sendGood sends one message as a well-behaved client.
func (a *target) sendGood() error {
	conn, err := a.dial(2)
	if err != nil {
		return err
	}
	c, err := client.New(conn, maxGoodTime)
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

// runGoodClient sends messages until quit is closed.
func (a *target) runGoodClient() {
	for {
		began := time.Now()
		err := a.sendGood()
		took := time.Since(began)
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
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// countDescriptors records the highest number of descriptors until quit is closed.
func (a *target) countDescriptors() {
	for {
		n := a.Descriptors()
		a.mu.Lock()
		a.descriptors = max(a.descriptors, n)
		a.mu.Unlock()
		select {
		case <-a.quit:
			return
		case <-time.After(10 * time.Millisecond): // misses shorter peaks
		}
	}
}

// end stops the well-behaved client, waits until the daemon has closed the descriptors of the
// attack, and stops the daemon.
func (a *target) end(t *testing.T) {
	t.Helper()
	close(a.quit)
	a.background.Wait()
	// 25 descriptors are enough for the store, the listeners and the loops.
	test.Await(t, a.Process(), 3*timeout*time.Second, "waiting for the daemon to close descriptors", func() error {
		if n := a.Descriptors(); n > 25 {
			return fmt.Errorf("%d descriptors are open", n)
		}
		return nil
	})
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit status %d\n%s", code, a.tail())
	}
	if strings.Contains(a.Log(), "internal error") {
		t.Errorf("the log contains an internal error\n%s", a.tail())
	}
}

func (a *target) tail() string {
	log := a.Log()
	return log[max(0, len(log)-10_000):]
}

// TestAttacks runs each attack against its own daemon and prints a table.
func TestAttacks(t *testing.T) {
	shared.Daemon(t, nil) // may skip the test
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "attack\tmemory growth, MiB\tallowed, MiB\tdescriptors\tgood messages\tslowest\tduration")
	for _, attacks := range [][]attack{floods(), storms(), bombs()} {
		for _, x := range attacks {
			t.Run(x.name, func(t *testing.T) {
				a := newTarget(t, x.keys)
				began := time.Now()
				x.run(t, a)
				took := time.Since(began)
				growth := a.Memory(t, "VmHWM") - a.before
				a.end(t)
				if x.maxGrowth == 0 {
					x.maxGrowth = baseGrowth
				}
				if growth > x.maxGrowth {
					t.Errorf("memory grew by %d MiB, want at most %d", growth>>20, x.maxGrowth>>20)
				}
				if a.descriptors > maxClients+40 {
					t.Errorf("%d descriptors, want at most %d", a.descriptors, maxClients+40)
				}
				if len(a.failed) > 0 || a.slowest > maxGoodTime {
					t.Errorf("well-behaved client: slowest message %v, errors %q\n%s", a.slowest, a.failed, a.tail())
				}
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%v\t%v\n", x.name, growth>>20, x.maxGrowth>>20, a.descriptors, a.served,
					a.slowest.Round(time.Millisecond), took.Round(100*time.Millisecond))
			})
		}
	}
	w.Flush()
	t.Logf("GM_MAX_CLIENTS %d, %d per address, GSMTP_MEMORY %d MiB, GSMTP_TIMEOUT %d s\n%s", maxClients, maxPerIP, memory>>20, timeout, table.String())
}
