package smtpd_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtpd"
)

func TestNewRefuses(t *testing.T) {
	if _, err := smtpd.New(smtpd.Options{}); err == nil {
		t.Error("a server without World and Save")
	}
}

// TestDefaultLoops: there is one loop for two processors, and at least one.
func TestDefaultLoops(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i, want := range []int{1, 1, 1, 2, 2, 3} {
		runtime.GOMAXPROCS(i + 1)
		if got := smtpd.DefaultLoops(); got != want {
			t.Errorf("%d loops for %d processors, want %d", got, i+1, want)
		}
		if got := runtime.GOMAXPROCS(0); got != i+1 {
			t.Errorf("%d processors are left of %d", got, i+1)
		}
	}
}

func TestMaxClients(t *testing.T) {
	f := start(t, func(s *setup) { s.limits.MaxClients = 3 })
	var inside []*client
	for range 3 {
		inside = append(inside, f.greeted())
	}
	refused := f.dial()
	refused.expect("421 4.3.2")
	refused.expectEnd()
	inside[0].say("QUIT", "221")
	f.await("left", func(s smtpd.Stats) bool { return s.Sessions == 2 })
	f.greeted()
	if s := f.server.Stats(); s.RefusedFull != 1 || s.Accepted != 5 {
		t.Errorf("counters %+v", s)
	}
	if n := strings.Count(f.log.String(), "too many clients"); n != 1 {
		t.Errorf("the log is told %d times", n)
	}
	// A reload changes the limit, and throws nobody out.
	f.server.Reload(smtpd.Settings{MaxClients: 1, Memory: 1 << 20})
	f.dial().expect("421 4.3.2")
	inside[1].say("NOOP", "250")
	f.server.Reload(smtpd.Settings{MaxClients: 10, Memory: 1 << 20})
	f.greeted()
}

func TestMaxClientsPerIP(t *testing.T) {
	f := start(t, func(s *setup) { s.limits.MaxClientsPerIP = 2 })
	first := f.dialFrom("127.0.0.2")
	first.expect("220")
	f.dialFrom("127.0.0.2").expect("220")
	refused := f.dialFrom("127.0.0.2")
	refused.expect("421 4.3.2")
	refused.expectEnd()
	f.dialFrom("127.0.0.3").expect("220")
	first.say("QUIT", "221")
	f.await("left", func(s smtpd.Stats) bool { return s.Sessions == 2 })
	f.dialFrom("127.0.0.2").expect("220")
	// A unix socket has no address to count.
	for range 3 {
		f.dialTo("unix", f.unix).expect("220")
	}
	if s := f.server.Stats(); s.RefusedIP != 1 || s.RefusedFull != 0 {
		t.Errorf("counters %+v", s)
	}
}

// TestProxyCounts: a trusted proxy is no client, those that it speaks for are.
func TestProxyCounts(t *testing.T) {
	f := start(t, func(s *setup) {
		s.limits.MaxClientsPerIP = 2
		s.settings.Trusted = loopback{}
	})
	speak := func(addr string) *client {
		c := f.greeted()
		c.send("XCLIENT ADDR=" + addr + "\r\n")
		return c
	}
	first := speak("192.0.2.1")
	first.expect("220")
	speak("192.0.2.1").expect("220")
	refused := speak("192.0.2.1")
	refused.expect("421 4.3.2")
	refused.expectEnd()
	speak("192.0.2.2").expect("220")
	first.say("QUIT", "221")
	f.await("left", func(s smtpd.Stats) bool { return s.Sessions == 2 })
	speak("192.0.2.1").expect("220")
	if s := f.server.Stats(); s.RefusedIP != 1 || s.RefusedFull != 0 {
		t.Errorf("counters %+v", s)
	}
}

// TestProxyTrustedLater: a client that has been counted, and that a reload makes a
// trusted proxy, leaves its own address free for others when it speaks for a client.
func TestProxyTrustedLater(t *testing.T) {
	f := start(t, func(s *setup) { s.limits.MaxClientsPerIP = 1 })
	stranger, trusting := *f.settings.Load(), *f.settings.Load()
	trusting.Trusted = loopback{}
	for _, reply := range []string{"220", "421"} { // the client's address is free, and taken
		proxy := f.dialFrom("127.0.0.2")
		proxy.expect("220")
		f.dialFrom("127.0.0.2").expect("421")
		f.settings.Store(&trusting)
		proxy.send("XCLIENT ADDR=192.0.2.1\r\n")
		proxy.expect(reply)
		f.settings.Store(&stranger)
		if reply == "421" {
			proxy.Close()
			f.await("left", func(s smtpd.Stats) bool { return s.Sessions == 1 })
		}
	}
	f.dialFrom("127.0.0.2").expect("220")
	f.settings.Store(&trusting)
	proxy := f.dialFrom("127.0.0.3")
	proxy.expect("220")
	proxy.send("XCLIENT ADDR=192.0.2.1\r\n")
	proxy.expect("421")
}

// loopback is 127.0.0.0/8.
type loopback struct{}

func (loopback) Match(addr netip.Addr) bool { return addr.IsLoopback() }

// TestPeer: the address that the row has is the socket's, unmapped, and none
// on a unix socket.
func TestPeer(t *testing.T) {
	peers := make(chan netip.AddrPort, 1)
	f := start(t, func(s *setup) {
		s.save = func(e *envelope.Envelope, done func(error)) {
			peers <- e.Remote
			go done(nil)
		}
	})
	for network, addr := range map[string]string{"tcp": f.addr, "unix": f.unix} {
		c := f.dialTo(network, addr)
		c.expect("220")
		c.say("HELO x", "250")
		c.begin()
		c.say("text\r\n.", "250")
		got := <-peers
		if network == "unix" {
			if got.IsValid() {
				t.Errorf("unix peer is %v", got)
			}
		} else if want := c.LocalAddr().(*net.TCPAddr).AddrPort(); got != want {
			t.Errorf("peer is %v, want %v", got, want)
		}
	}
}

// TestManySocketsManyLoops: every loop serves every socket, and sessions of
// all of them add up.
func TestManySocketsManyLoops(t *testing.T) {
	f := start(t, func(s *setup) { s.loops = 4 })
	for i := range 40 {
		network, addr := "unix", f.unix
		if i%2 == 0 {
			network, addr = "tcp", f.addr
		}
		f.dialTo(network, addr).expect("220")
	}
	if n := f.server.Stats().Sessions; n != 40 {
		t.Errorf("%d sessions, want 40", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.server.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// TestConnectionWithoutAWord: a health check is no news.
func TestConnectionWithoutAWord(t *testing.T) {
	f := start(t, nil)
	f.dial().Close()
	c := f.dial()
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	f.await("gone", func(s smtpd.Stats) bool { return s.Accepted == 2 && s.Sessions == 0 })
	for _, level := range []string{"INFO", "WARN", "ERROR"} {
		if strings.Contains(f.log.String(), "level="+level) {
			t.Errorf("the log says: %s", f.log.String())
		}
	}
}

// TestOutOfDescriptors: the server neither spins nor ends, and accepts again.
func TestOutOfDescriptors(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	d := startDaemon(t, daemonSettings{MaxClients: 1000, MaxSize: 1 << 20, Memory: 8 << 20, Files: 40})
	var all []*client
	for range 60 {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		all = append(all, newClient(t, conn))
	}
	all[0].expect("220")
	before, used := d.stats(), d.cpu()
	const span = 2 * time.Second
	time.Sleep(span) // nothing is to happen: there is no event to wait for
	after := d.stats()
	if after.AcceptErrors == 0 {
		t.Fatalf("it does not lack descriptors: %+v", after)
	}
	// 5 ms … 1 s doubled: a dozen of each loop in two seconds; one that spins makes thousands.
	if n := after.AcceptErrors - before.AcceptErrors; n > 20*uint64(runtime.GOMAXPROCS(0)) {
		t.Errorf("%d vain accepts in %v", n, span)
	}
	if spent := d.cpu() - used; spent > span/4 {
		t.Errorf("%v of processor time in %v", spent, span)
	}
	all[0].say("NOOP", "250")
	for _, c := range all[:50] {
		c.Close()
	}
	all[59].expect("220")
}

// TestNoSpin: a connection that has to wait costs no processor time, whatever
// its client does meanwhile.
func TestNoSpin(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures a process")
	}
	const large = 1 << 20
	saving := func(c *client) { c.begin(); c.send("text\r\n.\r\n") }
	waiting := func(c *client) {
		c.say("MAIL FROM:<a@example.org> SIZE=1000000", "250")
		c.say("RCPT TO:<b@example.com>", "250")
		c.send("DATA\r\n")
	}
	for _, test := range []struct {
		name string
		do   func(*client)
	}{
		{"input behind a message", func(c *client) { saving(c); c.send("NOOP\r\n") }},
		{"end behind a message", func(c *client) { saving(c); c.Conn.(*net.TCPConn).CloseWrite() }},
		{"reset behind a message", func(c *client) { saving(c); c.Conn.(*net.TCPConn).SetLinger(0); c.Close() }},
		{"input while waiting for memory", func(c *client) {
			waiting(c)
			c.send(strings.Repeat("x", 1000))
		}},
		{"end while waiting for memory", func(c *client) { waiting(c); c.Conn.(*net.TCPConn).CloseWrite() }},
		{"replies that are not read", func(c *client) {
			c.SetWriteDeadline(time.Now().Add(time.Second))
			for err := error(nil); err == nil; {
				_, err = io.WriteString(c.Conn, strings.Repeat("EHLO x\r\n", 1000))
			}
		}},
		{"half a TLS hello", func(c *client) { c.say("STARTTLS", "220"); c.send("\x16\x03\x01\x02\x00\x01") }},
		{"half a TLS record", func(c *client) {
			raw := c.Conn
			c.startTLS()
			raw.Write([]byte("\x17\x03\x03\x01\x00abc"))
		}},
		{"end inside TLS behind a message", func(c *client) {
			c.startTLS()
			c.say("EHLO x", "250")
			saving(c)
			c.Conn.(*tls.Conn).CloseWrite()
		}},
		{"drain", saving},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := startDaemon(t, daemonSettings{MaxClients: 100, MaxSize: large, Memory: large + 200<<10, Hold: true})
			waiting(d.client(t)) // who has the memory
			test.do(d.client(t))
			d.client(t).say("NOOP", "250")
			if test.name == "drain" {
				d.command("drain")
			}
			const span = 500 * time.Millisecond
			used := d.cpu()
			time.Sleep(span) // nothing is to happen: there is no event to wait for
			if spent := d.cpu() - used; spent > span/5 {
				t.Errorf("%v of processor time in %v", spent, span)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	f := start(t, func(s *setup) { s.settings.Timeout = time.Second })
	silent := f.dial()
	silent.expect("220")
	drip := f.greeted()
	busy := f.greeted()
	dripped := make(chan struct{})
	go func() { // a command that comes byte by byte is one command
		defer close(dripped)
		for {
			if _, err := io.WriteString(drip.Conn, "N"); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	busyUntil := time.Now().Add(2500 * time.Millisecond)
	for time.Now().Before(busyUntil) {
		busy.say("NOOP", "250")
		time.Sleep(50 * time.Millisecond)
	}
	silent.expect("421 4.4.2")
	silent.expectEnd()
	drip.expect("421 4.4.2")
	<-dripped
	busy.say("QUIT", "221")
	f.await("ended", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.Expired == 2 })
}

// TestTimeoutReload: a new timeout holds for sessions that are there already.
func TestTimeoutReload(t *testing.T) {
	f := start(t, nil)
	c := f.greeted()
	settings := *f.settings.Load()
	settings.Timeout = 100 * time.Millisecond
	f.settings.Store(&settings)
	f.server.Reload(smtpd.Settings{MaxClients: 10, Memory: 1 << 20})
	c.expect("421 4.4.2")
}

// TestNoTimeoutWhileSaving: while its message is being saved a client has no
// deadline, and afterwards a whole one.
func TestNoTimeoutWhileSaving(t *testing.T) {
	h := newHeld()
	f := start(t, func(s *setup) {
		s.settings.Timeout = 500 * time.Millisecond
		s.save = h.save
	})
	saving, silent := f.greeted(), f.greeted()
	saving.begin()
	saving.send("text\r\n.\r\n")
	done := <-h.dones
	silent.expect("421 4.4.2") // its time is over, and the other's would be
	silent.Close()
	f.await("ended", func(s smtpd.Stats) bool { return s.Sessions == 1 })
	done(nil)
	saving.expect("250")
	saving.say("NOOP", "250")
}

// TestSlowText: text below the minimum rate ends the session, text above goes
// on for as long as it takes.
func TestSlowText(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	f := start(t, func(s *setup) { s.settings.Timeout = time.Second })
	slow, fast := f.greeted(), f.greeted()
	slow.begin()
	fast.begin()
	slow.send("x")
	for range 30 {
		fast.send(strings.Repeat("x", 50) + "\r\n")
		time.Sleep(100 * time.Millisecond)
	}
	slow.expect("421 4.4.2")
	fast.say(".", "250")
}

// TestHashes: they are unique, 64 in a row have their first 4 digits in common,
// and any digit may stand in each of the other places.
func TestHashes(t *testing.T) {
	const runs = 100
	var h smtpd.Hashes
	seen, heads, digits := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range runs * 64 {
		s := h.New()
		if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" || seen[s] {
			t.Fatalf("hash %q", s)
		}
		seen[s] = true
		if i%64 != 0 && !heads[s[:4]] {
			t.Errorf("hash %d, %s, begins unlike the one before", i, s)
		}
		heads[s[:4]] = true
		for place := 4; place < len(s); place++ {
			digits[fmt.Sprint(place, s[place:place+1])] = true
		}
	}
	if len(heads) < runs-5 { // two may be the same by accident
		t.Errorf("%d runs have %d beginnings", runs, len(heads))
	}
	if want := 28 * 16; len(digits) != want {
		t.Errorf("%d digits at their places, want %d", len(digits), want)
	}
}

// TestSessionIDs: ids are short, unique, and fit for a log line.
func TestSessionIDs(t *testing.T) {
	ids := make(chan string, 100)
	f := start(t, func(s *setup) {
		s.save = func(e *envelope.Envelope, done func(error)) { ids <- e.Session; done(nil) }
	})
	seen := map[string]bool{}
	for range 10 {
		c := f.greeted()
		c.begin()
		c.say(".", "250")
		id := <-ids
		if len(id) != 12 || strings.Trim(id, "0123456789abcdefghjkmnpqrstvwxyz") != "" || seen[id] {
			t.Errorf("id %q", id)
		}
		seen[id] = true
	}
}
