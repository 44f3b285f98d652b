package smtpd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/dialogue"
)

// To measure the memory, the descriptors and the processor time of a server, a
// test runs it in a separate process: the test binary itself, with this
// environment variable set to daemonSettings in JSON.
const daemonVariable = "SMTPD_TEST_DAEMON"

func TestMain(m *testing.M) {
	if text := os.Getenv(daemonVariable); text != "" {
		if err := runDaemon(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// daemonSettings are the settings of a daemon process.
type daemonSettings struct {
	MaxClients int
	MaxSize    int64
	Memory     int64
	Files      uint64 // RLIMIT_NOFILE; 0 does not change it
	Hold       bool   // messages get no outcome
	Address    string // to listen on; "" is a free port of 127.0.0.1
}

// runDaemon runs a server that discards messages. It prints its address, then the
// counters for each line on its standard input; the line "drain" starts a
// shutdown. It returns at the end of its input.
func runDaemon(text string) error {
	var d daemonSettings
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	if d.Files > 0 {
		limit := syscall.Rlimit{Cur: d.Files, Max: d.Files}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
	}
	script, err := dialogue.Parse("usual", "")
	if err != nil {
		return err
	}
	settings := script.Settings.Session()
	settings.MaxSize = d.MaxSize
	var hashes envelope.HashSource
	// One goroutine reports the outcomes, as a writer of the Committer does.
	type submitted struct{ done func(error) }
	queue := make(chan submitted, d.MaxClients)
	go func() {
		for m := range queue {
			if !d.Hold {
				m.done(nil)
			}
		}
	}()
	server, err := smtpd.New(smtpd.Options{
		Environment: &session.Environment{
			Settings: func() *session.Settings { return settings },
			Now:      time.Now,
			NewHash:  hashes.New,
			Log:      slog.New(slog.NewTextHandler(io.Discard, nil)),
		},
		Save:     func(_ *envelope.Envelope, done func(error)) { queue <- submitted{done} },
		Settings: smtpd.Settings{MaxClients: d.MaxClients, Memory: d.Memory, TLS: serverTLS()},
	})
	if err != nil {
		return err
	}
	if d.Address == "" {
		d.Address = "127.0.0.1:0"
	}
	sockets, err := listen.Bind([]string{d.Address})
	if err != nil {
		return err
	}
	if err := server.Start([]smtpd.Listener{{FD: sockets[0].FD}}); err != nil {
		return err
	}
	fmt.Println(sockets[0].Addr)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "drain" {
			go server.Shutdown(context.Background())
		}
		json.NewEncoder(os.Stdout).Encode(server.Stats())
	}
	return nil
}

// daemon is a daemon process.
type daemon struct {
	t       testing.TB
	process *test.Process
	addr    string
	ask     io.Writer
	answers *bufio.Reader
}

func startDaemon(t testing.TB, settings daemonSettings) *daemon {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stdin, ask, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), daemonVariable+"="+string(text))
	cmd.Stdin, cmd.Stdout = stdin, stdout
	d := &daemon{t: t, process: test.Start(t, cmd), ask: ask, answers: bufio.NewReader(out)}
	stdin.Close()
	stdout.Close()
	t.Cleanup(func() { ask.Close(); out.Close() })
	d.addr = d.line()
	return d
}

func (d *daemon) line() string {
	d.t.Helper()
	line, err := d.answers.ReadString('\n')
	if err != nil {
		d.t.Fatalf("daemon: %v: %s", err, d.process.Output())
	}
	return strings.TrimSpace(line)
}

// stats returns the daemon's counters.
func (d *daemon) stats() smtpd.Stats { return d.command("stats") }

// command sends the daemon a line and returns its counters.
func (d *daemon) command(line string) (s smtpd.Stats) {
	d.t.Helper()
	fmt.Fprintln(d.ask, line)
	if err := json.Unmarshal([]byte(d.line()), &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// status returns a value of /proc/PID/status in KiB.
func (d *daemon) status(key string) (kib int) {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.process.Cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n"+key+":")
	if !ok {
		d.t.Fatalf("/proc/PID/status lacks %s", key)
	}
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		d.t.Fatal(err)
	}
	return kib
}

// cpu returns the processor time that the daemon has used.
func (d *daemon) cpu() time.Duration {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.process.Cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}
