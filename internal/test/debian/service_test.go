package debian

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

// TestServiceBenchmark runs make bench BENCH=service with few messages. It fails if the
// journal drops an entry. The test is in this package, whose tests build packages one after
// the other.
func TestServiceBenchmark(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a package")
	}
	test.NeedRoot(t)
	test.Need(t, "dpkg-buildpackage", "dh", "smtp-source", "smtp-sink", "mmdebstrap", "systemd-nspawn")
	cmd := exec.Command("go", "run", "./internal/test/bench", "-rounds", "1", "-messages", "200")
	cmd.Dir = moduleRoot(t)
	cmd.Env = append(os.Environ(), "BENCH=service", "BENCH_OUT=")
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for _, want := range []string{"| service, journal ", "| service, log file ", "LogRateLimitIntervalUSec=0; journal in /"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
