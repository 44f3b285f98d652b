package attacks

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// TestLeaks ends 100,000 connections in many ways. The goroutines, descriptors, threads and
// memory of the daemon must not grow.
func TestLeaks(t *testing.T) {
	metrics := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	d := shared.Daemon(t, map[string]string{"GM_METRICS": metrics, "GM_MAX_CLIENTS": "400"})
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile})
	d.Start(t)
	a := &target{Daemon: d, cert: cert}
	a.endConnections(t, 5000) // the first connections allocate memory that all connections share
	before := a.measure(t, metrics)
	a.endConnections(t, 100_000)
	after := a.measure(t, metrics)
	t.Logf("before %v, after %v", before, after)
	// The values may include the connection of the metrics, and the runtime may start threads
	// at any time.
	if after.goroutines > before.goroutines+4 || after.descriptors > before.descriptors+4 || after.threads > before.threads+4 {
		t.Errorf("before %v, after %v, want at most 4 more of each", before, after)
	}
	if after.resident > before.resident+16<<20 {
		t.Errorf("memory grew by %d MiB, want at most 16", (after.resident-before.resident)>>20)
	}
}

// A usage contains the resources that a daemon without sessions uses.
type usage struct {
	goroutines, descriptors, threads int
	resident                         int64 // bytes
}

func (w usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d threads, %d MiB", w.goroutines, w.descriptors, w.threads, w.resident>>20)
}

// measure waits until the last session has ended, and returns the usage.
func (a *target) measure(t *testing.T, metrics string) (w usage) {
	t.Helper()
	test.Await(t, a.Process(), 30*time.Second, "waiting for the end of the sessions", func() error {
		page, err := gauges(metrics)
		if err != nil {
			return err
		}
		if n := page["goguerrillad_sessions"]; n != 0 {
			return fmt.Errorf("%v sessions are open", n)
		}
		w.goroutines, w.threads = int(page["go_goroutines"]), int(page["go_threads"])
		w.resident = int64(page["process_resident_memory_bytes"])
		return nil
	})
	w.descriptors = a.Descriptors()
	return w
}

// gauges returns the metrics that have no labels.
func gauges(addr string) (map[string]float64, error) {
	r, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil {
			values[name] = n
		}
	}
	return values, nil
}

// endConnections opens n connections, 100 concurrently, and ends them by QUIT, FIN or a
// reset: after the greeting, or in the middle of a command, a text or a handshake.
func (a *target) endConnections(t *testing.T, n int) {
	t.Helper()
	dialogues := []string{
		"", "EHLO x\r\nQUIT\r\n", "EHLO x\r\n", "EH", "EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: ha",
		"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nBDAT 1000\r\nSubject: ha", "EHLO x\r\nSTARTTLS\r\n\x16\x03\x01",
		"GET / HTTP/1.0\r\n\r\n", "EHLO x\r\nMAIL FROM:<a@example.org> SIZE=100000\r\n", "EHLO x\r\nSTARTTLS\r\n",
	}
	var all sync.WaitGroup
	const clients = 100
	for client := range clients {
		all.Go(func() {
			for i := client; i < n; i += clients {
				conn, err := net.Dial("tcp", a.Addr)
				if err != nil {
					t.Error(err)
					return
				}
				if i%1000 == 7 {
					a.sendTLS(t, conn)
				} else {
					conn.Write([]byte(dialogues[i%len(dialogues)]))
					if i%3 == 0 { // wait until the daemon has read the dialogue
						conn.SetReadDeadline(time.Now().Add(10 * time.Second))
						conn.Read(make([]byte, 100))
					}
				}
				if i%4 == 0 {
					conn.(*net.TCPConn).SetLinger(0)
				}
				conn.Close()
			}
		})
	}
	all.Wait()
}

// sendTLS sends a message inside TLS.
func (a *target) sendTLS(t *testing.T, conn net.Conn) {
	c, err := client.New(conn, 30*time.Second)
	if err == nil {
		err = c.Hello()
	}
	if err == nil {
		err = c.StartTLS(a.cert.ClientConfig())
	}
	if err == nil {
		err = c.Hello()
	}
	if err == nil {
		_, err = c.Send("a@example.org", "", []string{"b@example.com"}, []byte("Subject: x\r\n\r\n"))
	}
	if err != nil {
		t.Error(err)
	}
}
