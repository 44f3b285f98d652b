package e2e

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/testserver"
)

// TestSignalsDuringStart: SIGHUP and SIGUSR1 that come while the daemon reads its
// configuration do not end it.
func TestSignalsDuringStart(t *testing.T) {
	d := newDaemon(t, nil)
	text, err := os.ReadFile(d.ConfigFile())
	if err == nil {
		err = errors.Join(os.Remove(d.ConfigFile()), unix.Mkfifo(d.ConfigFile(), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	// A FIFO without a writer has no text, and is no configuration.
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
	time.Sleep(200 * time.Millisecond) // it waits for the text
	for _, s := range []os.Signal{syscall.SIGUSR1, syscall.SIGHUP} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("the signals ended the daemon: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	// The reload that SIGHUP asked for finds a file.
	err = errors.Join(os.Remove(d.ConfigFile()), os.WriteFile(d.ConfigFile(), text, 0o600))
	if _, wrote := fifo.Write(text); err != nil || wrote != nil {
		t.Fatal(err, wrote)
	}
	fifo.Close()
	var c *testserver.Client
	for range 100 {
		if c, err = testserver.Connect(d.Addr, time.Second); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
