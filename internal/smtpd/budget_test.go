package smtpd

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// fakeSession allocates memory as a session does.
type fakeSession struct {
	claim
	buf     []byte
	waiting bool
	woken   bool
}

func newFake(b *budget, p *buffers) *fakeSession {
	return &fakeSession{claim: claim{budget: b, buffers: p}}
}

// grow allocates n bytes, or enqueues the claim if the budget refuses them.
func (f *fakeSession) grow(n int) bool {
	buf, ok := f.Grow(f.buf, n)
	if ok {
		f.buf = buf
		return true
	}
	f.waiting, f.woken = true, false
	f.enqueue(func() { f.woken = true })
	return false
}

func (f *fakeSession) end() {
	if f.waiting {
		f.dequeue()
	}
	f.waiting = false
	f.Release(f.buf)
	f.buf = nil
}

// TestBudgetOneFinishes fills the budget with the first halves of messages. All messages
// must finish within the limit.
func TestBudgetOneFinishes(t *testing.T) {
	const message = 1 << 20
	const limit = 4 * message
	var b budget
	var p buffers
	b.configure(limit, message)
	var all []*fakeSession
	for range 20 {
		f := newFake(&b, &p)
		all = append(all, f)
		f.grow(message / 2)
	}
	var order []int
	for len(order) < len(all) {
		progress := false
		for i, f := range all {
			if f.buf == nil && !f.waiting {
				continue // finished
			}
			if f.waiting && !f.woken {
				continue
			}
			f.waiting = false
			if used, _ := b.inUse(); used > limit {
				t.Fatalf("%d bytes are in use, the limit is %d", used, limit)
			}
			if cap(f.buf) >= message {
				order = append(order, i)
				f.end()
			} else {
				f.grow(min(message, max(message/2, 2*cap(f.buf))))
			}
			progress = true
		}
		if !progress {
			used, waiting := b.inUse()
			t.Fatalf("deadlock: %d bytes are in use, %d claims wait, finished: %v", used, waiting, order)
		}
	}
	if used, waiting := b.inUse(); used != 0 || waiting != 0 || b.holder != nil {
		t.Errorf("at the end %d bytes are in use, %d claims wait, the holder is %p; want none", used, waiting, b.holder)
	}
}

// TestBudgetSmallPass: small messages get memory while large ones wait.
func TestBudgetSmallPass(t *testing.T) {
	var b budget
	var p buffers
	b.configure(8<<20, 1<<20)
	var large []*fakeSession
	for {
		f := newFake(&b, &p)
		large = append(large, f)
		if !f.grow(1 << 20) {
			break
		}
	}
	blocked := newFake(&b, &p) // waits for the holder of the reserve
	blocked.grow(1 << 20)
	if blocked.woken {
		t.Fatal("two claims have the reserve")
	}
	for range 10 {
		small := newFake(&b, &p)
		if !small.grow(8 << 10) {
			t.Fatal("Grow failed for a small message")
		}
		small.end()
	}
	for _, f := range large {
		f.end()
	}
	if !blocked.woken {
		t.Error("the waiting claim was not woken after memory was released")
	}
	blocked.end()
	if used, _ := b.inUse(); used != 0 {
		t.Errorf("at the end %d bytes are in use, want 0", used)
	}
}

// TestBudgetRandom allocates and releases memory at random, as sessions do. The sums must
// be right, and messages must finish.
func TestBudgetRandom(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		var b budget
		var p buffers
		const message = 300 << 10
		b.configure(5*message, message)
		var all [12]*fakeSession
		for i := range all {
			all[i] = newFake(&b, &p)
		}
		done := 0
		for step := 0; done < 200; step++ {
			if step > 100_000 {
				t.Fatalf("seed %d: only %d messages finished in 100,000 steps", seed, done)
			}
			f := all[r.IntN(len(all))]
			switch {
			case f.waiting && f.woken:
				f.waiting = false
				buf, ok := f.Grow(f.buf, cap(f.buf)+int(f.shortfall))
				if !ok {
					t.Fatalf("seed %d: Grow failed after the claim was woken", seed)
				}
				f.buf = buf
			case f.waiting && r.IntN(50) > 0:
			case f.waiting || r.IntN(20) == 0: // timeout or disconnect
				f.end()
			case cap(f.buf) >= message:
				f.end()
				done++
			default:
				f.grow(min(max(8<<10, 4*cap(f.buf)), message))
			}
			if r.IntN(1000) == 0 {
				b.configure(int64(4+r.IntN(3))*message, message)
			}
			var held int64
			for _, f := range all {
				if f.total != int64(cap(f.buf))+f.granted {
					t.Fatalf("seed %d: total is %d, want %d in buffers and %d granted", seed, f.total, cap(f.buf), f.granted)
				}
				held += f.total
			}
			if used, _ := b.inUse(); used != held {
				t.Fatalf("seed %d: %d bytes are in use, the claims have %d", seed, used, held)
			}
		}
		for _, f := range all {
			f.end()
		}
		if used, waiting := b.inUse(); used != 0 || waiting != 0 {
			t.Fatalf("seed %d: at the end %d bytes are in use, %d claims wait; want none", seed, used, waiting)
		}
	}
}

// TestBuffersKeepContent: a buffer keeps its bytes when it grows.
func TestBuffersKeepContent(t *testing.T) {
	var p buffers
	for _, sizes := range [][]int{
		{1, 8 << 10, 8<<10 + 1, 40 << 10, 128 << 10, 128<<10 + 1, 1 << 20, 15 << 20},
		{100, 3 << 20, 3<<20 + 1},
		{200 << 10, 201 << 10, 64 << 20},
	} {
		var buf []byte
		var want []byte
		for _, n := range sizes {
			var err error
			if buf, err = p.grow(buf, n); err != nil {
				t.Fatal(err)
			}
			if cap(buf) != sizeFor(n) || cap(buf) < n {
				t.Fatalf("grow(%d) returned capacity %d, want %d", n, cap(buf), sizeFor(n))
			}
			if !bytes.Equal(buf, want) {
				t.Fatalf("grow(%d) changed the content", n)
			}
			for len(buf) < n {
				buf = append(buf, byte(len(buf)*7))
			}
			want = append([]byte(nil), buf...)
		}
		p.put(buf)
	}
}

// TestSystemWithoutMemory: Grow fails without changing the buffer if the system
// has no memory, as it does if the budget is used up.
func TestSystemWithoutMemory(t *testing.T) {
	const tooMuch = 1 << 50 // bytes; more than an address space
	var b budget
	b.configure(1<<52, 0)
	for _, size := range []int{0, 100, 200 << 10} { // none, Go memory, a mapping
		c := &claim{budget: &b, buffers: &buffers{}}
		buf, ok := c.Grow(nil, size)
		if !ok {
			t.Fatalf("Grow(nil, %d) failed", size)
		}
		for len(buf) < size {
			buf = append(buf, byte(len(buf)))
		}
		want := bytes.Clone(buf)
		got, ok := c.Grow(buf, tooMuch)
		if ok || !bytes.Equal(got, want) || cap(got) != cap(buf) {
			t.Errorf("Grow of a buffer of %d bytes returned %v and a buffer of length %d, capacity %d; want false and the buffer unchanged", size, ok, len(got), cap(got))
		}
		if used, _ := b.inUse(); used != int64(cap(buf)) {
			t.Errorf("%d bytes are in use, want %d", used, cap(buf))
		}
		if c.shortfall != tooMuch-int64(cap(buf)) {
			t.Errorf("shortfall is %d bytes, want %d", c.shortfall, tooMuch-int64(cap(buf)))
		}
		c.Release(got)
	}
}

// TestBuffersAreReused: freed buffers are reused, and the size of a free list is
// bounded.
func TestBuffersAreReused(t *testing.T) {
	var p buffers
	var all [][]byte
	for range 100 {
		b, _ := p.get(128 << 10)
		all = append(all, b)
	}
	for _, b := range all {
		p.put(b)
	}
	if n := len(p.free[2]) * (128 << 10); n != keepFree {
		t.Errorf("the free list has %d bytes, want %d", n, keepFree)
	}
	if n := testing.AllocsPerRun(100, func() {
		b, _ := p.get(5000)
		p.put(b)
	}); n > 0 {
		t.Errorf("get and put make %v allocations, want 0", n)
	}
}
