// Package daemon builds and runs goguerrillad for tests.
package daemon

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// Build builds cmd/goguerrillad into dir, as make build does, and returns the path of the
// program.
func Build(dir string) (string, error) {
	root, err := test.ModuleRoot()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "goguerrillad")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./cmd/goguerrillad")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build goguerrillad: %w\n%s", err, out)
	}
	return program, nil
}

// A Daemon is goguerrillad with its own configuration on a free port. A test may start
// and end it several times.
type Daemon struct {
	Program string
	Dir     string            // working directory, in which the user of the daemon may write
	Addr    string            // address of SMTP
	Keys    map[string]string // the configuration
	Env     []string          // in addition to PATH
	Sockets []*os.File        // passed as systemd does
	Names   string            // of the sockets, separated by colons; "" = smtp for each
	Wrapper []string          // a command that executes its arguments

	proc *test.Process
	logs []string // log files of its configurations
	old  string   // output of earlier processes
}

// New prepares a daemon that stores in a SQLite file in Dir and accepts every domain; keys
// are added to its configuration, or replace keys. If the test runs as root, the daemon
// switches to the user nobody.
func New(t test.T, program string, keys map[string]string) *Daemon {
	t.Helper()
	dir := test.PublicDir(t)
	d := &Daemon{Program: program, Dir: dir, Addr: fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))}
	d.Keys = map[string]string{
		"GM_ALLOWED_HOSTS":       ".",
		"GSMTP_HOST_NAME":        "mx.test",
		"GSTMP_LISTEN_INTERFACE": d.Addr,
		"GSMTP_MAX_SIZE":         "20000000",
		"GSMTP_TIMEOUT":          "60",
		"GM_SAVE_MAIL":           "sqlite",
		"SQLITE_FILE":            filepath.Join(dir, "mail.db"),
	}
	if os.Geteuid() == 0 {
		d.Keys["SGID"], d.Keys["GUID"] = "nogroup", "nobody"
		d.Chown(t, dir)
	}
	d.Configure(t, keys)
	return d
}

// Chown changes the owner of a file to the user of the daemon.
func (d *Daemon) Chown(t test.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(path, test.Nobody, test.Nobody); err != nil {
		t.Fatalf("change the owner of %s: %v", path, err)
	}
}

// ConfigFile returns the path of the configuration.
func (d *Daemon) ConfigFile() string { return filepath.Join(d.Dir, "goguerrilla.conf") }

// Configure changes keys and writes the file; a running daemon does not reload it.
func (d *Daemon) Configure(t test.T, changes map[string]string) {
	t.Helper()
	maps.Copy(d.Keys, changes)
	if file := changes["GSMTP_LOG_FILE"]; file != "" && !slices.Contains(d.logs, file) {
		d.logs = append(d.logs, file)
	}
	text, err := json.MarshalIndent(d.Keys, "", "\t")
	if err != nil {
		t.Fatalf("write the configuration: %v", err)
	}
	test.WriteFile(t, d.Dir, filepath.Base(d.ConfigFile()), string(text))
}

// Cmd returns the command with the configuration and additional flags.
func (d *Daemon) Cmd(flags ...string) *exec.Cmd {
	cmd := exec.Command(d.Program, append([]string{"-config", d.ConfigFile()}, flags...)...)
	if len(d.Wrapper) > 0 {
		args := slices.Concat(d.Wrapper, cmd.Args)
		cmd = exec.Command(args[0], args[1:]...)
	}
	if len(d.Sockets) > 0 { // sd_listen_fds(3) needs the id of the process
		cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, cmd.Args...)...)
		cmd.ExtraFiles = d.Sockets
	}
	cmd.Dir = d.Dir
	// The daemon must not use the journal and the service manager of the machine.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, d.Env...)
	if n := len(d.Sockets); n > 0 {
		names := cmp.Or(d.Names, strings.TrimSuffix(strings.Repeat("smtp:", n), ":"))
		cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", n), "LISTEN_FDNAMES="+names)
	}
	return cmd
}

// StartAwaitReady starts the process and waits until it logs that it is ready. It is for a
// daemon that greets only clients with a PROXY header.
func (d *Daemon) StartAwaitReady(t test.T) {
	t.Helper()
	d.Launch(t)
	test.Await(t, d.proc, 20*time.Second, "wait for the daemon to log that it is ready", func() error {
		if !strings.Contains(d.proc.Output(), "msg=ready") {
			return errors.New("no line has msg=ready")
		}
		return nil
	})
}

// Launch starts the process and does not wait.
func (d *Daemon) Launch(t test.T) {
	t.Helper()
	if d.proc != nil {
		d.old += d.proc.Output()
	}
	d.proc = test.Start(t, d.Cmd())
}

// Start starts the process and waits for its greeting.
func (d *Daemon) Start(t test.T) {
	t.Helper()
	d.Launch(t)
	test.Await(t, d.proc, 20*time.Second, "wait for the greeting of the daemon", d.CheckGreeting)
}

// CheckGreeting returns nil if the daemon greets a client; for Await.
func (d *Daemon) CheckGreeting() error {
	c, err := client.Connect(d.Addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if c.Greeting.Code != 220 {
		return fmt.Errorf("greeting: %v", c.Greeting)
	}
	_, err = c.Expect(221, "QUIT")
	return err
}

// Process returns the current or last process.
func (d *Daemon) Process() *test.Process { return d.proc }

// Pid returns the id of the process.
func (d *Daemon) Pid() int { return d.proc.Cmd.Process.Pid }

// Memory returns a value of /proc/PID/status in bytes: VmRSS (current) or VmHWM (peak).
func (d *Daemon) Memory(t test.T, key string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Pid()))
	if err != nil {
		t.Fatalf("read the memory: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatalf("read the memory: %v", err)
			}
			return n << 10
		}
	}
	t.Fatalf("read the memory: no %s", key)
	return 0
}

// Descriptors returns the number of open descriptors, 0 after the end of the process.
func (d *Daemon) Descriptors() int {
	open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Pid()))
	return len(open)
}

// Log returns all log output since the first Start.
func (d *Daemon) Log() string {
	var b strings.Builder
	b.WriteString(d.old)
	if d.proc != nil {
		b.WriteString(d.proc.Output())
	}
	for _, file := range d.logs {
		text, _ := os.ReadFile(file)
		b.Write(text)
	}
	return b.String()
}

// AwaitLog waits until the log contains text at least n times.
func (d *Daemon) AwaitLog(t test.T, text string, n int) {
	t.Helper()
	test.Await(t, d.proc, 20*time.Second, fmt.Sprintf("wait for %q in the log", text), func() error {
		log := d.Log()
		if got := strings.Count(log, text); got < n {
			return fmt.Errorf("it occurs %d times, want %d:\n%s", got, n, log)
		}
		return nil
	})
}

// Reload changes keys, sends SIGHUP, waits for the end of the reload, and reports
// whether it succeeded.
func (d *Daemon) Reload(t test.T, changes map[string]string) bool {
	t.Helper()
	count := func() (done, refused int) {
		log := d.Log()
		return strings.Count(log, "msg=reloaded"), strings.Count(log, `msg="reload refused`)
	}
	doneBefore, refusedBefore := count()
	d.Configure(t, changes)
	if err := d.proc.Signal(syscall.SIGHUP); err != nil {
		t.Fatalf("send SIGHUP: %v", err)
	}
	test.Await(t, d.proc, 20*time.Second, "wait for the end of the reload", func() error {
		if done, refused := count(); done == doneBefore && refused == refusedBefore {
			log := d.Log()
			return fmt.Errorf("neither done nor refused:\n%s", log[max(0, len(log)-5000):])
		}
		return nil
	})
	done, _ := count()
	return done > doneBefore
}

// Kill ends the process with SIGKILL.
func (d *Daemon) Kill() { d.proc.Kill() }

// Terminate sends SIGTERM and returns the exit status, -1 if the process did not end
// within 30 s, which a drain may take.
func (d *Daemon) Terminate(t test.T) int {
	t.Helper()
	if err := d.proc.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("send SIGTERM: %v", err)
	}
	return d.AwaitExit()
}

// AwaitExit waits for the end of the process and returns its status, as Terminate does.
func (d *Daemon) AwaitExit() int {
	select {
	case <-d.proc.Done():
		return d.proc.Cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		return -1
	}
}
