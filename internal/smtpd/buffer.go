package smtpd

// Message buffers are Go memory of three sizes, kept on free lists, or mappings
// if they are larger. Nine of ten messages fit into the smallest size; a message
// that grows beyond it is copied at most twice.

// bufferClasses are the capacities of Go memory in bytes, smallest first.
var bufferClasses = [...]int{8 << 10, 32 << 10, 128 << 10}

// keepFree is the maximum size of one free list in bytes.
const keepFree = 2 << 20

// buffers has the free buffers of one loop. Only the loop's thread uses it.
type buffers struct {
	free [len(bufferClasses)][][]byte
}

// class returns the index of the smallest class for n bytes, or
// len(bufferClasses) if they need a mapping.
func class(n int) int {
	for i, size := range bufferClasses {
		if n <= size {
			return i
		}
	}
	return len(bufferClasses)
}

// sizeFor returns the capacity of the buffer that grow returns for n.
func sizeFor(n int) int {
	if i := class(n); i < len(bufferClasses) {
		return bufferClasses[i]
	}
	return mapSize(n)
}

// grow returns a buffer of capacity sizeFor(n) that starts with the bytes of
// buf, and frees buf. If it returns an error, buf is unchanged.
func (p *buffers) grow(buf []byte, n int) ([]byte, error) {
	isMapping := cap(buf) > bufferClasses[len(bufferClasses)-1]
	if isMapping {
		grown, err := mapGrow(buf, n)
		if err != nil {
			return nil, err
		}
		return grown[:len(buf)], nil
	}
	grown, err := p.get(n)
	if err != nil {
		return nil, err
	}
	grown = append(grown, buf...)
	p.put(buf)
	return grown, nil
}

// get returns an empty buffer of capacity sizeFor(n).
func (p *buffers) get(n int) ([]byte, error) {
	i := class(n)
	if i == len(bufferClasses) {
		b, err := mapNew(n)
		return b[:0], err
	}
	if last := len(p.free[i]) - 1; last >= 0 {
		b := p.free[i][last]
		p.free[i][last] = nil
		p.free[i] = p.free[i][:last]
		return b, nil
	}
	return make([]byte, 0, bufferClasses[i]), nil
}

// put frees a buffer. It ignores nil.
func (p *buffers) put(buf []byte) {
	if buf == nil {
		return
	}
	i := class(cap(buf))
	if i == len(bufferClasses) {
		mapFree(buf)
		return
	}
	if (len(p.free[i])+1)*cap(buf) <= keepFree {
		p.free[i] = append(p.free[i], buf[:0])
	}
}
