package daemon

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/test"
	testdaemon "goguerrillad/internal/test/daemon"
)

// TestStartRefused: a failed start has the documented exit status and writes one line
// to standard error, which the journal shows as an error.
func TestStartRefused(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	passed, err := busy.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	inUse := busy.Addr().String()
	for _, tt := range []struct {
		change map[string]string
		name   string // of a socket from systemd
		status int
		want   string
	}{
		{map[string]string{"GSTMP_LISTEN_INTERFACE": inUse}, "", 1, "listen on " + inUse + ": bind: address already in use: "},
		{map[string]string{"NGINX_AUTH_ENABLED": "Y", "NGINX_AUTH": inUse}, "", 1, "NGINX_AUTH: listen on " + inUse + ": bind: address already in use: "},
		{map[string]string{"GM_METRICS": inUse}, "", 1, "GM_METRICS: listen on " + inUse + ": bind: address already in use: "},
		{map[string]string{"GSMTP_LOG_FILE": "/no/such/directory/log"}, "", 78, "CONFIG: GSMTP_LOG_FILE: open log file: "},
		{map[string]string{"GSMTP_TIMEOUT": "soon"}, "", 78, "CONFIG:"},
		{nil, "other", 1, `socket 1 of 1 from systemd: unknown name "other"`},
	} {
		for _, journal := range []bool{false, true} {
			d := shared.Daemon(t, tt.change)
			if tt.name != "" {
				d.Sockets, d.Names = []*os.File{passed}, tt.name
			}
			stderr, err := os.Create(filepath.Join(d.Dir, "stderr"))
			if err != nil {
				t.Fatal(err)
			}
			defer stderr.Close()
			want := "goguerrillad: " + strings.Replace(tt.want, "CONFIG", d.ConfigFile(), 1)
			if journal {
				var st unix.Stat_t
				if err := unix.Fstat(int(stderr.Fd()), &st); err != nil {
					t.Fatal(err)
				}
				d.Env = append(d.Env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino))
				want = "<3>" + want
			}
			cmd := d.Cmd()
			cmd.Stderr = stderr
			out, err := cmd.Output()
			text := read(t, stderr.Name())
			if cmd.ProcessState.ExitCode() != tt.status || len(out) > 0 || !strings.HasPrefix(text, want) || strings.Count(text, "\n") != 1 {
				t.Errorf("%v, standard output %q, standard error\n%s\nwant %s, exit status %d", err, out, text, want, tt.status)
			}
		}
	}
}

// TestReadersSIGHUP: SIGHUP ends -list, -show and -t while they wait for a database, since
// only a serving daemon reloads. Without a database -list and -show fail.
func TestReadersSIGHUP(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	d := shared.Daemon(t, map[string]string{"GM_SAVE_MAIL": "mysql", "MYSQL_HOST": silent.Addr().String(), "MYSQL_DB": "x", "MYSQL_USER": "x",
		"GM_RECIPIENT_QUERY": "SELECT 1 FROM x WHERE y = :address"})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP) // under nohup the processes would ignore it
	defer signal.Stop(signals)
	for _, flags := range [][]string{{"-list", "1"}, {"-show", strings.Repeat("0", 32)}, {"-t"}} {
		p := test.Start(t, d.Cmd(flags...))
		conn, err := silent.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := p.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := p.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGHUP {
			t.Errorf("%q: %v, want the end by SIGHUP: %s", flags, err, p.Output())
		}
	}
	silent.Close()
	for _, flags := range [][]string{{"-list", "1"}, {"-show", strings.Repeat("0", 32)}} {
		cmd := d.Cmd(flags...)
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.HasPrefix(string(out), "goguerrillad: "+flags[0][1:]+": ") {
			t.Errorf("%q without a database: exit status %d, %s", flags, status, out)
		}
	}
}

// TestRealUserRoot: the daemon refuses to start if only its real user is root, since the
// process could switch back to root.
func TestRealUserRoot(t *testing.T) {
	d := shared.Daemon(t, nil)
	test.NeedRoot(t)
	test.Need(t, "setpriv")
	d.Wrapper = []string{"setpriv", "--euid=65534"}
	cmd := d.Cmd()
	out, _ := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); status != 78 || !strings.HasPrefix(string(out), "goguerrillad: started as root: ") {
		t.Errorf("exit status %d, %s", status, out)
	}
}

// TestWarnings: the daemon logs the warnings of its configuration at the start and at
// each reload, and -t prints the warnings.
func TestWarnings(t *testing.T) {
	d := shared.Daemon(t, map[string]string{"REDIS_STREAM": "mail"})
	const warning = "REDIS_MODE=store, REDIS_PASS or REDIS_STREAM is set without REDIS_HOST"
	out, err := d.Cmd("-t").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "goguerrillad: warning: "+warning) {
		t.Errorf("-t: %v, %s", err, out)
	}
	d.Launch(t)
	d.AwaitLog(t, "msg=ready", 1) // follows the warnings
	for n, change := range []map[string]string{nil, nil, {"REDIS_STREAM": ""}} {
		if n > 0 && !d.Reload(t, change) {
			t.Fatal(d.Log())
		}
		want := min(n+1, 2)
		if got := strings.Count(d.Log(), `level=WARN msg="`+warning); got != want {
			t.Errorf("after %d reloads the log has %d warnings, want %d:\n%s", n, got, want, d.Log())
		}
	}
}

// TestMemoryLimit: the memory limit of Go's runtime is 90 % of the cgroup's limit less
// GSMTP_MEMORY, or 90 % of half of the cgroup's limit if that is more. GOMEMLIMIT
// overrides the limit, and a reload changes it.
func TestMemoryLimit(t *testing.T) {
	test.NeedRoot(t)
	if self, err := os.ReadFile("/proc/self/cgroup"); err != nil || !strings.Contains("\n"+string(self), "\n0::") {
		t.Skip("needs a kernel with cgroups of version 2")
	}
	for _, tt := range []struct {
		limit, env    string
		start, reload int64 // limit with GSMTP_MEMORY=400000000, and after a reload with 800000000
	}{
		{"1000000000", "", 540000000, 450000000},
		{"4000000000", "", 3240000000, 2880000000},
		{"4000000000", "GOMEMLIMIT=77MiB", 77 << 20, 77 << 20},
		{"max", "", math.MaxInt64, math.MaxInt64},
	} {
		addrs := freeAddresses(t)
		d := shared.Daemon(t, addrs)
		d.Addr = addrs["GSTMP_LISTEN_INTERFACE"]
		d.Configure(t, map[string]string{"GSMTP_MEMORY": "400000000"})
		d.Wrapper = []string{"unshare", "--mount", "sh", "-c",
			`mount -t tmpfs none /sys/fs/cgroup && echo ` + tt.limit + ` >/sys/fs/cgroup/memory.max && exec "$@"`, "sh"}
		if tt.env != "" {
			d.Env = append(d.Env, tt.env)
		}
		d.Start(t)
		check := func(want int64) {
			t.Helper()
			if line := fmt.Sprintf("\ngo_gc_gomemlimit_bytes %v\n", float64(want)); !strings.Contains(get(t, addrs["GM_METRICS"], "/metrics"), line) {
				t.Errorf("memory.max %s, %s: the metrics lack%s", tt.limit, tt.env, line)
			}
		}
		check(tt.start)
		if !d.Reload(t, map[string]string{"GSMTP_MEMORY": "800000000"}) {
			t.Fatal(d.Log())
		}
		check(tt.reload)
	}
}

// TestPrivilegedAddresses: a daemon without privileges keeps its addresses if a reload
// changes them to privileged ports, and each reload logs the keys.
func TestPrivilegedAddresses(t *testing.T) {
	test.NeedRoot(t)
	unprivileged := map[string]string{"GSTMP_LISTEN_INTERFACE": "0.0.0.0:2525", "NGINX_AUTH": "0.0.0.0:2526", "GM_METRICS": "0.0.0.0:2527"}
	privileged := map[string]string{"GSTMP_LISTEN_INTERFACE": "0.0.0.0:25", "NGINX_AUTH": "0.0.0.0:26", "GM_METRICS": "0.0.0.0:27"}
	d := shared.Daemon(t, unprivileged)
	d.Configure(t, map[string]string{"NGINX_AUTH_ENABLED": "Y"})
	// A new network namespace has the default net.ipv4.ip_unprivileged_port_start.
	d.Wrapper = []string{"unshare", "--net"}
	d.Launch(t)
	d.AwaitLog(t, "msg=ready", 1)
	const line = `level=WARN msg="keys need a restart" keys=`
	for _, step := range []struct {
		change map[string]string
		keys   string
	}{
		{privileged, "NGINX_AUTH,GM_METRICS,GSTMP_LISTEN_INTERFACE"},
		{nil, "NGINX_AUTH,GM_METRICS,GSTMP_LISTEN_INTERFACE"},
		{map[string]string{"NGINX_AUTH": unprivileged["NGINX_AUTH"], "GUID": "nobody", "SGID": "65534"}, "SGID,GM_METRICS,GSTMP_LISTEN_INTERFACE"},
		{map[string]string{"GM_METRICS": unprivileged["GM_METRICS"]}, "GSTMP_LISTEN_INTERFACE"},
		{unprivileged, ""},
	} {
		before := len(d.Log())
		if !d.Reload(t, step.change) {
			t.Fatal(d.Log())
		}
		log := d.Log()[before:]
		if keys, _, _ := strings.Cut(log[strings.Index(log+line, line):]+line, "\n"); keys != line+step.keys+line && keys != line+step.keys {
			t.Errorf("%v: the log has %q, want the keys %q", step.change, keys, step.keys)
		}
		if got := listeningPorts(t, d); got != "2525 2526 2527" {
			t.Errorf("%v: the daemon listens on %s", step.change, got)
		}
	}
}

// listeningPorts returns the ports of all IPv4 listeners in the daemon's network
// namespace, in order.
func listeningPorts(t *testing.T, d *testdaemon.Daemon) string {
	t.Helper()
	var ports []string
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/net/tcp", d.Pid()))) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != "0A" { // proc_pid_net(5): TCP_LISTEN
			continue
		}
		var port int
		if _, err := fmt.Sscanf(fields[1], "00000000:%X", &port); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		ports = append(ports, fmt.Sprint(port))
	}
	slices.Sort(ports)
	return strings.Join(ports, " ")
}

// TestTryQuery: -t refuses a GM_RECIPIENT_QUERY that the database rejects, and reports
// a missing database.
func TestTryQuery(t *testing.T) {
	d := shared.Daemon(t, nil)
	d.Start(t)
	dialogue(t, d, "", messageCommands("b@example.com")...) // creates the table
	for _, tt := range []struct {
		change map[string]string
		status int
		want   string
	}{
		{map[string]string{"GM_RECIPIENT_QUERY": "SELECT 1 FROM missing WHERE a = :address"}, 78, "goguerrillad: " + d.ConfigFile() + ": GM_RECIPIENT_QUERY: "},
		{map[string]string{"GM_RECIPIENT_QUERY": "SELECT 1 FROM new_mail WHERE `to` = :address"}, 0, d.ConfigFile() + ": configuration is good\n"},
		{map[string]string{"SQLITE_FILE": filepath.Join(d.Dir, "later.db")}, 0, "goguerrillad: GM_RECIPIENT_QUERY was not checked: "},
	} {
		d.Configure(t, tt.change)
		cmd := d.Cmd("-t")
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != tt.status || !strings.HasPrefix(string(out), tt.want) {
			t.Errorf("%v: exit status %d, %s\nwant %d, %s", tt.change, status, out, tt.status, tt.want)
		}
	}
}
