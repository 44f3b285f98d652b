package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// A TLS handshake leaves about 50 KiB of garbage. By default, the garbage collector of a daemon
// with few sessions, whose live heap is a few MiB, runs once every 80 handshakes, which costs a
// sixth of the daemon's processor time. So with certificates the heap grows to heapFloor before
// the collector runs.
const (
	heapFloor      = 16 << 20 // bytes
	defaultPercent = 100      // GOGC: the heap grows by this share of its live part
	maxPercent     = 400      // Go multiplies its minimum heap of 4 MiB by GOGC
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
	scanned := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(scanned)
	percent, total := defaultPercent, uint64(0) // Go multiplies the total by GOGC
	for _, s := range scanned {
		total += s.Value.Uint64()
	}
	if live := scanned[0].Value.Uint64(); t.floor.Load() && live < heapFloor {
		percent = max(percent, int(100*(heapFloor-live)/max(total, 1)))
	}
	debug.SetGCPercent(min(percent, maxPercent))
	garbage := new([64]byte) // a smaller object may share its memory with objects in use
	runtime.AddCleanup(garbage, (*heapTuner).tune, t)
}
