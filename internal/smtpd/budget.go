package smtpd

import "sync"

// budget is the memory for all messages in flight, over all loops, counted in
// capacities of their buffers.
//
// It avoids deadlock. If any claim could use all of the memory, a hundred
// half-received messages could fill it, and each would wait for the others for
// ever. So a part of the memory, the reserve, has the size of the largest
// message and is kept for one claim at a time, the holder. The whole total of
// the holder counts against the reserve. The other claims together never have
// more than limit-reserve, so the holder can grow to the largest size. When it
// has finished and released its memory, the head of the queue becomes the holder.
//
// Waiting claims receive memory in the order of their arrival. Small messages need
// not wait behind large ones, and a part of the memory is kept for them, so that
// a few large, slow messages do not block many small ones. No claim waits for
// ever, since the head of the queue receives the reserve.
type budget struct {
	mu      sync.Mutex
	limit   int64
	reserve int64
	used    int64    // sum of all claims' totals
	holder  *claim   // has the reserve; nil if no claim needs it
	queue   []*claim // waiting claims, in order; at most one for each session
}

// headerAllowance is an upper bound of the size of the added header lines in a
// message's buffer, in bytes.
const headerAllowance = 32 << 10

const (
	smallMessage = 64 << 10 // maximum total of the claim of a small message, in bytes
	smallShare   = 16       // limit/smallShare bytes are kept for small messages
)

// claim is the part of the budget that one session has. It implements
// session.Memory. Its methods are called only on the loop's thread.
type claim struct {
	budget    *budget
	buffers   *buffers
	shortfall int64 // bytes that the last failed Grow needed; for the loop's thread only

	// budget.mu guards the fields below.
	total   int64  // capacity of the session's buffers, plus granted
	granted int64  // part of total that is set aside for the next Grow
	needed  int64  // bytes that a waiting claim needs in addition
	wake    func() // notifies the owner of a grant; must not block
}

// configure sets the limit and the maximum size of a message, both in bytes.
func (b *budget) configure(limit, message int64) {
	reserve := int64(sizeFor(int(message) + headerAllowance))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit, b.reserve = limit, min(reserve, limit)
	b.grantWaiting()
}

// inUse returns the bytes in use and the number of waiting claims.
func (b *budget) inUse() (bytes int64, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used, len(b.queue)
}

// Grow implements session.Memory.
func (c *claim) Grow(buf []byte, n int) ([]byte, bool) {
	if n <= cap(buf) {
		return buf, true
	}
	more := int64(sizeFor(n) - cap(buf))
	if !c.budget.acquire(c, more) {
		c.shortfall = more
		return buf, false
	}
	grown, err := c.buffers.grow(buf, n)
	if err != nil { // the system is out of memory: handled as if the budget were used up
		c.budget.release(c, more)
		c.shortfall = more
		return buf, false
	}
	return grown, true
}

// Release implements session.Memory.
func (c *claim) Release(buf []byte) {
	if buf == nil {
		return
	}
	size := int64(cap(buf))
	c.buffers.put(buf)
	c.budget.release(c, size)
}

// acquire adds bytes to a claim and reports whether it did. The claim must not
// be in the queue.
func (b *budget) acquire(c *claim, more int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case more <= c.granted: // the claim has waited for them
	case b.holder == c && b.used+more <= b.limit:
	case (len(b.queue) == 0 || c.isSmall(more)) && b.fits(c, more):
	default:
		return false
	}
	b.add(c, more-c.granted)
	c.granted = 0
	return true
}

// add changes the total of a claim. b.mu is held.
func (b *budget) add(c *claim, bytes int64) {
	c.total += bytes
	b.used += bytes
}

// isSmall reports whether the claim is a small message with more bytes in
// addition.
func (c *claim) isSmall(more int64) bool { return c.total+more <= smallMessage }

// fits reports whether a claim that is not the holder may have more bytes in
// addition. b.mu is held.
func (b *budget) fits(c *claim, more int64) bool {
	available := b.limit - b.reserve
	if !c.isSmall(more) {
		available -= b.limit / smallShare
	}
	used := b.used
	if b.holder != nil {
		used -= b.holder.total
	}
	return used+more <= available && b.used+more <= b.limit
}

// release returns bytes to the budget.
func (b *budget) release(c *claim, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(c, -bytes)
	b.grantWaiting()
}

// enqueue adds a claim whose Grow failed to the queue. wake is called when the
// memory for the next Grow is set aside.
func (c *claim) enqueue(wake func()) {
	b := c.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	c.needed, c.wake = c.shortfall, wake
	if b.holder == c { // other claims may wait for the holder to finish
		b.queue = append([]*claim{c}, b.queue...)
	} else {
		b.queue = append(b.queue, c)
	}
	b.grantWaiting()
}

// hasGrant reports whether memory is set aside for the claim.
func (c *claim) hasGrant() bool {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	return c.granted > 0
}

// dequeue removes the claim from the queue and releases the grant that it has not
// used.
func (c *claim) dequeue() {
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
	b.grantWaiting()
}

// releaseAll releases all bytes of the claim, even if its buffers are still in
// use.
func (c *claim) releaseAll() {
	c.budget.mu.Lock()
	all := c.total
	c.granted = 0
	c.budget.mu.Unlock()
	c.budget.release(c, all)
}

// grantWaiting grants memory to the waiting claims in order, as far as there is
// enough. b.mu is held.
func (b *budget) grantWaiting() {
	if b.holder != nil && (b.holder.total == 0 || b.used <= b.limit-b.reserve-b.limit/smallShare) {
		b.holder = nil // it has finished, or no longer needs the reserve
	}
	for len(b.queue) > 0 {
		c := b.queue[0]
		switch {
		case b.fits(c, c.needed):
		case (b.holder == nil || b.holder == c) && b.used+c.needed <= b.limit:
			b.holder = c
		default:
			return
		}
		b.queue = b.queue[1:]
		b.add(c, c.needed)
		c.granted = c.needed
		c.wake()
	}
	b.queue = nil
}
