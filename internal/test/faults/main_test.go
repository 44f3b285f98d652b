package faults

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
)

// shared holds the program that the tests share.
var shared = daemon.NewSuite("faults")

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// long reports whether FAULTS selects the long form.
func long() bool { return os.Getenv("FAULTS") == "long" }

// newRand returns the random numbers of a test and logs the seed.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(test.Seed(t), 0))
}

// between returns a random duration, in the short form from the lower third.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	if !long() {
		high = low + (high-low)/3
	}
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}
