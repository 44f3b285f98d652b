package commit_test

import (
	"sync"
	"testing"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail/discard"
)

// BenchmarkCommitter measures the time from Submit to the outcome for 1 and for 100
// concurrent clients, with the store discard.
func BenchmarkCommitter(b *testing.B) {
	for name, clients := range map[string]int{"one": 1, "hundred": 100} {
		b.Run(name, func(b *testing.B) {
			c := commit.New(discard.Store{}, commit.Options{})
			b.ReportAllocs()
			idle := make(chan *envelope.Envelope, clients)
			for range clients {
				idle <- message("a", 1, 1)
			}
			var sent sync.WaitGroup
			for b.Loop() {
				e := <-idle
				sent.Add(1)
				c.Submit(e, func(error) {
					idle <- e
					sent.Done()
				})
			}
			sent.Wait()
			if err := c.Drain(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
