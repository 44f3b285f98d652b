package test_test

import (
	"fmt"
	"net"
	"testing"

	"goguerrillad/internal/test"
)

// TestFreePort: a port belongs to one test until that test ends, also if no
// program listens on it yet.
func TestFreePort(t *testing.T) {
	lock := ""
	t.Run("held", func(t *testing.T) {
		seen := map[int]bool{}
		for range 500 {
			port := test.FreePort(t)
			if seen[port] {
				t.Fatalf("port %d is returned twice", port)
			}
			seen[port] = true
			lock = fmt.Sprintf("@goguerrillad-test-port-%d", port)
		}
		if l, err := net.Listen("unix", lock); err == nil {
			l.Close()
			t.Error("another process can take the last port")
		}
	})
	l, err := net.Listen("unix", lock)
	if err != nil {
		t.Fatalf("after the test, the port is still taken: %v", err)
	}
	l.Close()
}
