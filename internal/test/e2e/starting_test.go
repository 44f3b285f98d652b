package e2e

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/test"
)

// TestSignalsDuringStart: SIGHUP and SIGUSR1 do not end the daemon while it reads its
// configuration.
func TestSignalsDuringStart(t *testing.T) {
	d := newDaemon(t, nil)
	text, err := os.ReadFile(d.ConfigFile())
	if err == nil {
		err = errors.Join(os.Remove(d.ConfigFile()), unix.Mkfifo(d.ConfigFile(), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	// Without a writer the daemon reads an empty configuration and refuses it.
	fifo, err := os.OpenFile(d.ConfigFile(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := d.Cmd()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	fds := fmt.Sprintf("/proc/%d/fd/", cmd.Process.Pid)
	test.Await(t, nil, 20*time.Second, "waiting for the daemon to open its configuration", func() error {
		files, err := os.ReadDir(fds)
		for _, file := range files {
			if name, _ := os.Readlink(fds + file.Name()); name == d.ConfigFile() {
				return nil
			}
		}
		return errors.Join(errors.New("not open"), err)
	})
	for _, s := range []os.Signal{syscall.SIGUSR1, syscall.SIGHUP} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	// The reload after SIGHUP must find a regular file.
	err = errors.Join(os.Remove(d.ConfigFile()), os.WriteFile(d.ConfigFile(), text, 0o600))
	if _, wrote := fifo.Write(text); err != nil || wrote != nil {
		t.Fatal(err, wrote)
	}
	fifo.Close()
	test.Await(t, nil, 20*time.Second, "waiting for the daemon after the signals", d.CheckGreeting)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
