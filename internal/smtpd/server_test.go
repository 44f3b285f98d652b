package smtpd_test

import (
	"context"
	"crypto/tls"
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

// TestNewIncomplete: New fails without the required options.
func TestNewIncomplete(t *testing.T) {
	if _, err := smtpd.New(smtpd.Options{}); err == nil {
		t.Error("New did not fail without its required options")
	}
}

// TestDefaultLoops: there is one loop per two processors of GOMAXPROCS except one, but at least
// one, and DefaultLoops does not change GOMAXPROCS.
func TestDefaultLoops(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i, want := range []int{1, 1, 1, 1, 2, 2, 3} {
		runtime.GOMAXPROCS(i + 1)
		if got := smtpd.DefaultLoops(); got != want {
			t.Errorf("DefaultLoops() = %d with %d processors, want %d", got, i+1, want)
		}
		if got := runtime.GOMAXPROCS(0); got != i+1 {
			t.Errorf("GOMAXPROCS is %d after DefaultLoops, want %d", got, i+1)
		}
	}
}

// TestMaxClients: connections beyond MaxClients are refused and logged once.
func TestMaxClients(t *testing.T) {
	f := start(t, func(s *setup) { s.limits.MaxClients = 3 })
	var inside []*client
	for range 3 {
		inside = append(inside, f.greeted())
	}
	refused := f.dial()
	refused.expect("421 4.3.2")
	refused.expectEnd()
	inside[0].cmd("QUIT", "221")
	f.await("end of the first session", func(s smtpd.Stats) bool { return s.Sessions == 2 })
	f.greeted()
	if s := f.server.Stats(); s.RefusedFull != 1 || s.Accepted != 5 {
		t.Errorf("RefusedFull is %d, want 1; Accepted is %d, want 5", s.RefusedFull, s.Accepted)
	}
	if n := strings.Count(f.log.String(), "client limit reached"); n != 1 {
		t.Errorf("the warning is in the log %d times, want once:\n%s", n, f.log.String())
	}
	// A reload changes the limit and closes no session.
	f.server.Reload(smtpd.Settings{MaxClients: 1, Memory: 1 << 20})
	f.dial().expect("421 4.3.2")
	inside[1].cmd("NOOP", "250")
	f.server.Reload(smtpd.Settings{MaxClients: 10, Memory: 1 << 20})
	f.greeted()
}

// TestMaxClientsPerIP: connections beyond the limit of an address are refused.
func TestMaxClientsPerIP(t *testing.T) {
	f := start(t, func(s *setup) { s.limits.MaxClientsPerIP = 2 })
	first := f.dialFrom("127.0.0.2")
	first.expect("220")
	f.dialFrom("127.0.0.2").expect("220")
	refused := f.dialFrom("127.0.0.2")
	refused.expect("421 4.3.2")
	refused.expectEnd()
	f.dialFrom("127.0.0.3").expect("220")
	first.cmd("QUIT", "221")
	f.await("end of the first session", func(s smtpd.Stats) bool { return s.Sessions == 2 })
	f.dialFrom("127.0.0.2").expect("220")
	// Clients on a unix socket have no address and no limit.
	for range 3 {
		f.dialTo("unix", f.unix).expect("220")
	}
	if s := f.server.Stats(); s.RefusedIP != 1 || s.RefusedFull != 0 {
		t.Errorf("RefusedIP is %d, want 1; RefusedFull is %d, want 0", s.RefusedIP, s.RefusedFull)
	}
}

// TestXClientLimit: MaxClientsPerIP applies to the client addresses that a trusted
// proxy reports, not to the proxy's own address.
func TestXClientLimit(t *testing.T) {
	f := start(t, func(s *setup) {
		s.limits.MaxClientsPerIP = 2
		s.settings.Trusted = loopback{}
	})
	report := func(addr string) *client {
		c := f.greeted()
		c.send("XCLIENT ADDR=" + addr + "\r\n")
		return c
	}
	first := report("192.0.2.1")
	first.expect("220")
	report("192.0.2.1").expect("220")
	refused := report("192.0.2.1")
	refused.expect("421 4.3.2")
	refused.expectEnd()
	report("192.0.2.2").expect("220")
	first.cmd("QUIT", "221")
	f.await("end of the first session", func(s smtpd.Stats) bool { return s.Sessions == 2 })
	report("192.0.2.1").expect("220")
	if s := f.server.Stats(); s.RefusedIP != 1 || s.RefusedFull != 0 {
		t.Errorf("RefusedIP is %d, want 1; RefusedFull is %d, want 0", s.RefusedIP, s.RefusedFull)
	}
}

// TestProxyTrustedLater: if a reload makes a client a trusted proxy, and the proxy
// then reports a client address, its own address is no longer counted.
func TestProxyTrustedLater(t *testing.T) {
	f := start(t, func(s *setup) { s.limits.MaxClientsPerIP = 1 })
	untrusted, trusted := *f.settings.Load(), *f.settings.Load()
	trusted.Trusted = loopback{}
	for _, reply := range []string{"220", "421"} { // with 0 and 1 sessions of the client's address
		proxy := f.dialFrom("127.0.0.2")
		proxy.expect("220")
		f.dialFrom("127.0.0.2").expect("421")
		f.settings.Store(&trusted)
		proxy.send("XCLIENT ADDR=192.0.2.1\r\n")
		proxy.expect(reply)
		f.settings.Store(&untrusted)
		if reply == "421" {
			proxy.Close()
			f.await("1 session", func(s smtpd.Stats) bool { return s.Sessions == 1 })
		}
	}
	f.dialFrom("127.0.0.2").expect("220")
	f.settings.Store(&trusted)
	proxy := f.dialFrom("127.0.0.3")
	proxy.expect("220")
	proxy.send("XCLIENT ADDR=192.0.2.1\r\n")
	proxy.expect("421")
}

// loopback is 127.0.0.0/8.
type loopback struct{}

func (loopback) Match(addr netip.Addr) bool { return addr.IsLoopback() }

// TestPeer: an envelope has the address of the socket's peer, not IPv4-mapped, and
// no address for a unix socket.
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
		c.cmd("HELO x", "250")
		c.begin()
		c.cmd("text\r\n.", "250")
		got := <-peers
		if network == "unix" {
			if got.IsValid() {
				t.Errorf("the peer on a unix socket is %v, want none", got)
			}
		} else if want := c.LocalAddr().(*net.TCPAddr).AddrPort(); got != want {
			t.Errorf("the peer is %v, want %v", got, want)
		}
	}
}

// TestManySocketsManyLoops: several loops serve several sockets, and Stats counts
// the sessions of all of them.
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
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := f.server.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// TestConnectionWithoutCommand: a connection without a command, such as a health
// check, is logged only at debug level.
func TestConnectionWithoutCommand(t *testing.T) {
	f := start(t, nil)
	f.dial().Close()
	c := f.dial()
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	f.await("close of 2 connections", func(s smtpd.Stats) bool { return s.Accepted == 2 && s.Sessions == 0 })
	for _, level := range []string{"INFO", "WARN", "ERROR"} {
		if strings.Contains(f.log.String(), "level="+level) {
			t.Errorf("the log has a line at level %s:\n%s", level, f.log.String())
		}
	}
}

// TestOutOfDescriptors: without free descriptors the server does not spin and does
// not end, and it accepts again later.
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
		conn.SetDeadline(time.Now().Add(testTimeout))
		all = append(all, newClient(t, conn))
	}
	all[0].expect("220")
	before, used := d.stats(), d.cpu()
	const span = 2 * time.Second
	time.Sleep(span) // measures this time; there is no event to wait for
	after := d.stats()
	if after.AcceptErrors == 0 {
		t.Fatalf("no accept failed: %+v", after)
	}
	// With pauses from 5 ms to 1 s, each loop tries about 12 times in 2 s. A loop
	// that spins tries thousands of times.
	if n := after.AcceptErrors - before.AcceptErrors; n > 20*uint64(runtime.GOMAXPROCS(0)) {
		t.Errorf("%d failed accepts in %v, want at most %d", n, span, 20*runtime.GOMAXPROCS(0))
	}
	if spent := d.cpu() - used; spent > span/4 {
		t.Errorf("%v of processor time in %v, want at most %v", spent, span, span/4)
	}
	all[0].cmd("NOOP", "250")
	for _, c := range all[:50] {
		c.Close()
	}
	all[59].expect("220")
}

// TestNoSpin: a connection that waits costs no processor time, whatever its client
// does meanwhile.
func TestNoSpin(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures a process")
	}
	const large = 1 << 20
	saving := func(c *client) { c.begin(); c.send("text\r\n.\r\n") }
	waiting := func(c *client) {
		c.cmd("MAIL FROM:<a@example.org> SIZE=1000000", "250")
		c.cmd("RCPT TO:<b@example.com>", "250")
		c.send("DATA\r\n")
	}
	for _, test := range []struct {
		name string
		do   func(*client)
	}{
		{"input after a message", func(c *client) { saving(c); c.send("NOOP\r\n") }},
		{"end after a message", func(c *client) { saving(c); c.Conn.(*net.TCPConn).CloseWrite() }},
		{"reset after a message", func(c *client) { saving(c); c.Conn.(*net.TCPConn).SetLinger(0); c.Close() }},
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
		{"half a TLS hello", func(c *client) { c.cmd("STARTTLS", "220"); c.send("\x16\x03\x01\x02\x00\x01") }},
		{"half a TLS record", func(c *client) {
			raw := c.Conn
			c.startTLS()
			raw.Write([]byte("\x17\x03\x03\x01\x00abc"))
		}},
		{"end inside TLS after a message", func(c *client) {
			c.startTLS()
			c.cmd("EHLO x", "250")
			saving(c)
			c.Conn.(*tls.Conn).CloseWrite()
		}},
		{"drain", saving},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := startDaemon(t, daemonSettings{MaxClients: 100, MaxSize: large, Memory: large + 200<<10, Hold: true})
			waiting(d.client(t)) // gets the memory
			test.do(d.client(t))
			d.client(t).cmd("NOOP", "250")
			if test.name == "drain" {
				d.command("drain")
			}
			const span = 500 * time.Millisecond
			used := d.cpu()
			time.Sleep(span) // measures this time; there is no event to wait for
			if spent := d.cpu() - used; spent > span/5 {
				t.Errorf("%v of processor time in %v, want at most %v", spent, span, span/5)
			}
		})
	}
}

// TestSessionIDs: ids are unique and have 12 digits of base 32.
func TestSessionIDs(t *testing.T) {
	ids := make(chan string, 100)
	f := start(t, func(s *setup) {
		s.save = func(e *envelope.Envelope, done func(error)) { ids <- e.Session; done(nil) }
	})
	seen := map[string]bool{}
	for range 10 {
		c := f.greeted()
		c.begin()
		c.cmd(".", "250")
		id := <-ids
		if len(id) != 12 || strings.Trim(id, "0123456789abcdefghjkmnpqrstvwxyz") != "" || seen[id] {
			t.Errorf("id %q is not 12 digits, or not unique", id)
		}
		seen[id] = true
	}
}
