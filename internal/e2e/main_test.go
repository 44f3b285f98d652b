package e2e

import (
	"os"
	"testing"

	"goguerrillad/internal/testserver"
)

// What all tests of the package share.
var shared = testserver.NewSuite("e2e")

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// newDaemon is testserver.NewDaemon with the program of this tree.
func newDaemon(t *testing.T, keys map[string]string) *testserver.Daemon {
	t.Helper()
	return shared.Daemon(t, keys)
}
