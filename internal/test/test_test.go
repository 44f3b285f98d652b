package test_test

import (
	"fmt"
	"net"
	"testing"

	"goguerrillad/internal/test"
)

// TestFreePort checks that no other test receives a port until the test ends, although no
// program listens on the port.
func TestFreePort(t *testing.T) {
	lock := ""
	t.Run("held", func(t *testing.T) {
		seen := map[int]bool{}
		for range 500 {
			port := test.FreePort(t)
			if seen[port] {
				t.Fatalf("FreePort returned %d twice", port)
			}
			seen[port] = true
			lock = fmt.Sprintf("@goguerrillad-test-port-%d", port)
		}
		if l, err := net.Listen("unix", lock); err == nil {
			l.Close()
			t.Error("another process can lock the last port")
		}
	})
	l, err := net.Listen("unix", lock)
	if err != nil {
		t.Fatalf("lock the last port after the test: %v", err)
	}
	l.Close()
}
