package faults

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
)

// What all tests of the package share.
var shared = daemon.NewSuite("faults")

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// long reports whether the long form is wanted.
func long() bool { return os.Getenv("FAULTS") == "long" }

// newRand returns what all chance in a test comes from, and logs how to have
// the same again.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(test.Seed(t), 0))
}

// between returns a random time, from the lower part in the short form.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	if !long() {
		most = least + (most-least)/3
	}
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}
