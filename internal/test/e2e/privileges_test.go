package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestPrivileges starts the daemon as root on a privileged port.
func TestPrivileges(t *testing.T) {
	test.NeedRoot(t)
	dir := test.PublicDir(t)
	cert := test.NewCertificate(t, dir, "mx")
	for name, ids := range map[string]map[string]string{
		"by name":   {"SGID": "nogroup", "GUID": "nobody"},
		"by number": {"SGID": "65534", "GUID": "65534"},
		"user only": {"SGID": "", "GUID": "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t, ids)
			d.Addr = privilegedAddr(t)
			d.Configure(t, map[string]string{
				"GSTMP_LISTEN_INTERFACE": d.Addr, "GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
			})
			d.Start(t)
			// TLS and a message start threads for the handshake and the store.
			c := connect(t, d)
			startTLS(t, c, cert)
			send(t, c, "one@example.com")
			checkThreads(t, d.Pid())
			// A reload does not need the rights of root.
			if !d.Reload(t, map[string]string{"GM_ALLOWED_HOSTS": "example.org"}) {
				t.Errorf("reload refused:\n%s", d.Log())
			}
			checkThreads(t, d.Pid())
		})
	}
}

// checkThreads checks that no thread of a process has any rights of root.
func checkThreads(t *testing.T, pid int) {
	t.Helper()
	want := map[string]string{
		"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "Groups": "",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapAmb": "0000000000000000", "NoNewPrivs": "1",
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 2 {
		t.Fatalf("threads: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		found := 0
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			if w, ok := want[key]; ok {
				found++
				if got := strings.Join(strings.Fields(value), " "); got != w {
					t.Errorf("%s: %s is %q, want %q", file, key, got, w)
				}
			}
		}
		if found != len(want) {
			t.Errorf("%s has %d of the %d lines", file, found, len(want))
		}
	}
}

// privilegedAddr returns a free address with a port that only root may bind.
func privilegedAddr(t *testing.T) string {
	t.Helper()
	for port := 1023; port > 600; port-- {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no privileged port is free")
	return ""
}

// TestRootRefused: the daemon does not start as root without SGID and GUID.
func TestRootRefused(t *testing.T) {
	test.NeedRoot(t)
	d := newDaemon(t, map[string]string{"SGID": "", "GUID": ""})
	cmd := d.Cmd()
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 78 {
		t.Errorf("exit status %d (%v), want 78", code, err)
	}
	if s := string(out); !strings.Contains(s, "root") || !strings.Contains(s, "GUID") || strings.Count(s, "\n") != 1 {
		t.Errorf("message %s, want one line that names root and GUID", s)
	}
}

// TestUnwritableStore: the daemon replies 451 while only root may write to the directory
// of the store, and accepts messages after its user becomes the owner.
func TestUnwritableStore(t *testing.T) {
	test.NeedRoot(t)
	dir := test.PublicDir(t) // owned by root
	d := newDaemon(t, map[string]string{"SQLITE_FILE": filepath.Join(dir, "mail.db")})
	d.Start(t)
	c := connect(t, d)
	r, err := c.Send("sender@example.org", "", []string{"one@example.com"}, []byte("Subject: x\r\n\r\n"))
	if err != nil || r.Code != 451 || !strings.HasPrefix(r.Text, "4.3.") {
		t.Fatalf("reply %v, %v, want 451 4.3", r, err)
	}
	d.AwaitLog(t, "mail.db", 1)
	d.Chown(t, dir)
	test.Await(t, d.Process(), time.Minute, "sending messages", func() error {
		r, err := c.Send("sender@example.org", "", []string{"one@example.com"}, []byte("Subject: x\r\n\r\n"))
		if err != nil || r.Code != 250 {
			return fmt.Errorf("reply %v, %v\n%s", r, err, d.Log())
		}
		return nil
	})
}
