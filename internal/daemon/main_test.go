package daemon

import (
	"os"
	"testing"

	testdaemon "goguerrillad/internal/test/daemon"
)

// shared builds the daemon once for all tests.
var shared = testdaemon.NewSuite("daemon")

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// read returns the content of a file.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
