package smtpd

import "sync"

// budget is the memory that all messages in flight share, over all loops,
// counted in capacities of their buffers.
//
// No deadlock: were all of it given to whoever comes first, a hundred
// half-received messages could fill it and each wait for the others for ever.
// So a part, the reserve, as large as one message can become, is kept for one
// claim at a time, the first, which holds all it has there. The others together
// never hold more than limit-reserve, hence the first finds room up to the size
// of a whole message; it finishes, gives back all it held, and the head of the
// queue becomes the next.
//
// Order: who has to wait is served in order of arrival, but small messages pass
// the queue, and have a part of the memory that large ones do not get: a few
// large and slow messages must not keep out the many. That starves nobody,
// since the head of the queue gets the reserve.
type budget struct {
	mu      sync.Mutex
	limit   int64
	reserve int64
	used    int64    // the total of all claims
	first   *claim   // who has the reserve; nil when nobody needs it
	queue   []*claim // who waits, in order; bounded by the number of sessions
}

// headRoom is more than the added header lines take in a message's buffer, in
// bytes.
const headRoom = 32 << 10

// smallMessage is the total of a claim in bytes up to which it counts as small;
// smallShare is the part of the limit that is for those.
const (
	smallMessage = 64 << 10
	smallShare   = 16
)

// claim is one session's part of the budget, and the Memory that it sees. Its
// methods are called on the loop's thread alone.
type claim struct {
	budget  *budget
	buffers *buffers
	refused int64 // what the last Grow that failed asked for; loop's thread

	// Under budget.mu:
	total   int64  // capacity of the buffers that the session has, and granted
	granted int64  // part of total that is set aside for the next Grow
	wanted  int64  // what a waiting claim needs more
	wake    func() // tells the owner that a grant has been made; does not block
}

// configure sets the limit, and the size that one message can reach.
func (b *budget) configure(limit, message int64) {
	reserve := int64(sizeFor(int(message) + headRoom))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit, b.reserve = limit, min(reserve, limit)
	b.serve()
}

// inUse returns the bytes that are taken, and how many claims wait.
func (b *budget) inUse() (bytes int64, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used, len(b.queue)
}

// Grow is session.Memory's.
func (c *claim) Grow(buf []byte, n int) ([]byte, bool) {
	if n <= cap(buf) {
		return buf, true
	}
	more := int64(sizeFor(n) - cap(buf))
	if !c.budget.take(c, more) {
		c.refused = more
		return buf, false
	}
	grown, err := c.buffers.grow(buf, n)
	if err != nil { // the system is short of memory: the same to a session
		c.budget.giveBack(c, more)
		c.refused = more
		return buf, false
	}
	return grown, true
}

// Release is session.Memory's.
func (c *claim) Release(buf []byte) {
	if buf == nil {
		return
	}
	size := int64(cap(buf))
	c.buffers.put(buf)
	c.budget.giveBack(c, size)
}

// take asks for more bytes for a claim that does not wait.
func (b *budget) take(c *claim, more int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case more <= c.granted: // it has waited for it
	case b.first == c && b.used+more <= b.limit:
	case (len(b.queue) == 0 || c.isSmall(more)) && b.hasRoom(c, more):
	default:
		return false
	}
	b.add(c, more-c.granted)
	c.granted = 0
	return true
}

// add changes what a claim holds. b.mu is held.
func (b *budget) add(c *claim, bytes int64) {
	c.total += bytes
	b.used += bytes
}

// isSmall reports whether the claim is a small message with so many bytes more.
func (c *claim) isSmall(more int64) bool { return c.total+more <= smallMessage }

// hasRoom reports whether a claim that is not the first may have so many bytes
// more. b.mu is held.
func (b *budget) hasRoom(c *claim, more int64) bool {
	room := b.limit - b.reserve
	if !c.isSmall(more) {
		room -= b.limit / smallShare
	}
	used := b.used
	if b.first != nil {
		used -= b.first.total
	}
	return used+more <= room && b.used+more <= b.limit
}

// giveBack returns bytes to the budget.
func (b *budget) giveBack(c *claim, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(c, -bytes)
	b.serve()
}

// await puts the claim whose Grow was refused into the queue; wake is called
// when it may try again, by then with room set aside for it.
func (c *claim) await(wake func()) {
	b := c.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	c.wanted, c.wake = c.refused, wake
	if b.first == c { // nobody else can go on before it does
		b.queue = append([]*claim{c}, b.queue...)
	} else {
		b.queue = append(b.queue, c)
	}
	b.serve()
}

// served reports whether room is set aside for the claim.
func (c *claim) served() bool {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	return c.granted > 0
}

// leave takes the claim out of the queue and returns what was granted to it
// and not taken.
func (c *claim) leave() {
	b := c.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range b.queue {
		if other == c {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			break
		}
	}
	b.add(c, -c.granted)
	c.granted = 0
	b.serve()
}

// forfeit gives back all that the claim has, whatever became of its buffers.
func (c *claim) forfeit() {
	c.budget.mu.Lock()
	all := c.total
	c.granted = 0
	c.budget.mu.Unlock()
	c.budget.giveBack(c, all)
}

// serve wakes those in the queue for whom there is room, in order. b.mu is
// held.
func (b *budget) serve() {
	if b.first != nil && (b.first.total == 0 || b.used <= b.limit-b.reserve-b.limit/smallShare) {
		b.first = nil // it has finished, or does without the reserve
	}
	for len(b.queue) > 0 {
		c := b.queue[0]
		switch {
		case b.hasRoom(c, c.wanted):
		case (b.first == nil || b.first == c) && b.used+c.wanted <= b.limit:
			b.first = c
		default:
			return
		}
		b.queue = b.queue[1:]
		b.add(c, c.wanted)
		c.granted = c.wanted
		c.wake()
	}
	b.queue = nil
}
