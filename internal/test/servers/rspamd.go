package servers

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"goguerrillad/internal/test"
)

// An RspamdServer is Debian's rspamd with its default configuration, for a test. Its
// address stays the same after a restart.
type RspamdServer struct {
	Addr string // 127.0.0.1:port, of the normal worker

	process *test.Process
	dir     string
}

// Rspamd starts rspamd. It uses a DNS server and has additional files of the directory
// local.d, by name.
func Rspamd(t test.T, dns string, local map[string]string) *RspamdServer {
	t.Helper()
	test.Need(t, "rspamd")
	r := &RspamdServer{Addr: fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)), dir: test.PublicDir(t)}
	for _, dir := range []string{"local.d", "override.d", "db"} {
		if err := os.Mkdir(filepath.Join(r.dir, dir), 0o777); err != nil {
			t.Fatalf("%v", err)
		}
	}
	if os.Geteuid() == 0 {
		for _, dir := range []string{"", "db"} {
			if err := os.Chown(filepath.Join(r.dir, dir), test.Nobody, test.Nobody); err != nil {
				t.Fatalf("%v", err)
			}
		}
	}
	for name, text := range local {
		test.WriteFile(t, filepath.Join(r.dir, "local.d"), name, text)
	}
	// The complete list of public suffixes would take rspamd several seconds.
	suffixes := test.WriteFile(t, r.dir, "suffixes", "com\norg\nexample\ntest\n")
	for name, text := range map[string]string{
		"options.inc": fmt.Sprintf("dns { nameserver = [%q]; }\ncontrol_socket = \"%s/control mode=0600\";\nurl_tld = %q;\nmax_message = 1M;\n",
			dns, r.dir, suffixes),
		"worker-normal.inc":     fmt.Sprintf("bind_socket = %q;\ncount = 1;\n", r.Addr),
		"worker-controller.inc": "enabled = false;\n",
		"worker-proxy.inc":      "enabled = false;\n",
		"logging.inc":           "type = \"console\";\n",
	} {
		test.WriteFile(t, filepath.Join(r.dir, "override.d"), name, text)
	}
	r.Start(t)
	return r
}

// Start starts the server again after Stop, and waits until it responds.
func (r *RspamdServer) Start(t test.T) {
	t.Helper()
	program, err := test.LookPath("rspamd")
	if err != nil {
		t.Fatalf("%v", err)
	}
	args := []string{"-f", "-c", "/etc/rspamd/rspamd.conf", "--var=LOCAL_CONFDIR=" + r.dir,
		"--var=DBDIR=" + filepath.Join(r.dir, "db"), "--var=RUNDIR=" + r.dir, "--var=LOGDIR=" + r.dir}
	cmd := exec.Command(program, args...)
	cmd.Dir = r.dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.Nobody, Gid: test.Nobody}}
	}
	r.process = test.Start(t, cmd)
	test.Await(t, r.process, serverStart, "wait for a response of rspamd", func() error {
		response, _, err := test.Get(r.Addr, "/ping")
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %s", response.Status)
		}
		return err
	})
}

// Stop ends the server with SIGTERM.
func (r *RspamdServer) Stop() error { return r.process.Stop() }

// Scans returns the number of messages that the server has logged since its start.
func (r *RspamdServer) Scans() int { return strings.Count(r.process.Output(), "rspamd_task_write_log") }
