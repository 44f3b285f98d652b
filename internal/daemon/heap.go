package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// A TLS handshake leaves about 50 KiB of garbage. By default, the garbage collector of a daemon
// with few sessions, whose live heap is a few MiB, runs after each 80 handshakes, which costs a
// sixth of the daemon's processor time. So with certificates the heap grows to heapFloor before
// the collector runs.
const (
	heapFloor      = 24 << 20 // bytes
	defaultPercent = 100      // GOGC: the heap grows by this share of its live part
	maxPercent     = 600      // Go multiplies its minimum heap of 4 MiB by GOGC
)

// heapTuner sets GOGC after each garbage collection.
type heapTuner struct {
	floor atomic.Bool // use heapFloor
}

// start begins unless the environment sets GOGC.
func (t *heapTuner) start() {
	if os.Getenv("GOGC") == "" {
		t.tune()
	}
}

// tune sets GOGC, and is called again after the next collection.
func (t *heapTuner) tune() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := defaultPercent
	if n := live[0].Value.Uint64(); t.floor.Load() && n < heapFloor {
		percent = max(percent, int(100*(heapFloor-n)/max(n, 1)))
	}
	debug.SetGCPercent(min(percent, maxPercent))
	garbage := new([64]byte) // a smaller object may share its memory with objects in use
	runtime.AddCleanup(garbage, (*heapTuner).tune, t)
}
