package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLaterConfiguration: the program refuses a file of go-guerrilla 1.4 or later. -t and
// a start by hand print the equivalent. A start under systemd logs one line and notifies
// the service manager.
func TestLaterConfiguration(t *testing.T) {
	program := shared.Daemon(t, nil).Program
	const file = "../../internal/migrate/testdata/sql.json"
	const refusal = "goguerrillad: " + file + ": is a configuration of go-guerrilla 1.4 or later"
	const hint = ": goguerrillad -t -config " + file + " prints the equivalent\n"
	for _, tt := range []struct {
		name    string
		args    []string
		journal bool
		prints  bool
	}{
		{"check", []string{"-t"}, false, true},
		{"check under systemd", []string{"-t"}, true, true},
		{"start by hand", nil, false, true},
		{"start under systemd", nil, true, false},
		{"list", []string{"-list", "1"}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
			if err != nil {
				t.Fatal(err)
			}
			defer stderr.Close()
			status := notifySocket(t)
			cmd := exec.Command(program, append(tt.args, "-config", file)...)
			var stdout bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, stderr
			cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+status.LocalAddr().String())
			priority := ""
			if tt.journal {
				var st unix.Stat_t
				if err := unix.Fstat(int(stderr.Fd()), &st); err != nil {
					t.Fatal(err)
				}
				cmd.Env = append(cmd.Env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino))
				priority = "<3>"
			}
			if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitConfig {
				t.Errorf("%v, want exit status %d", err, exitConfig)
			}
			log := read(t, stderr.Name())
			if strings.Contains(log+stdout.String(), "ecure1t") {
				t.Errorf("the output contains a password:\n%s%s", log, stdout.String())
			}
			if !tt.prints {
				if log != priority+refusal+hint || stdout.Len() > 0 {
					t.Errorf("stderr %q, want %q; stdout %q", log, priority+refusal+hint, stdout.String())
				}
			} else {
				var keys map[string]string
				if err := json.Unmarshal(stdout.Bytes(), &keys); err != nil || keys["GM_ALLOWED_HOSTS"] != "example.com,*.example.net" {
					t.Errorf("stdout is not the equivalent: %v\n%s", err, stdout.String())
				}
				first, rest, _ := strings.Cut(log, "\n")
				if first != priority+refusal+"; standard output has the equivalent" || !strings.Contains(rest, "goguerrillad: pid_file: no equivalent: ") {
					t.Errorf("stderr:\n%s", log)
				}
			}
			buf := make([]byte, 4096)
			n, err := status.Read(buf)
			if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, "STATUS=configuration refused: "+file+": is a configuration of go-guerrilla 1.4 or later") {
				t.Errorf("notification %q, %v", got, err)
			}
		})
	}
}

// notifySocket returns the socket of a service manager.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // sockaddr_un limits the length of the path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if err := socket.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return socket
}
