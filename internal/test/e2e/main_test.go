package e2e

import (
	"os"
	"testing"

	"goguerrillad/internal/test/daemon"
)

// What all tests of the package share.
var shared = daemon.NewSuite("e2e")

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// newDaemon is daemon.New with the program of this tree.
func newDaemon(t *testing.T, keys map[string]string) *daemon.Daemon {
	t.Helper()
	return shared.Daemon(t, keys)
}
