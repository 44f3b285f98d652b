package smtpd

// Message buffers come in three classes of Go memory, kept on free lists, and
// above them as mappings. The first class takes nine mails in ten whole; a
// mail that outgrows it is copied twice at most.

// bufferClasses are the capacities in bytes, smallest first.
var bufferClasses = [...]int{8 << 10, 32 << 10, 128 << 10}

// keepFree bounds the free list of a class in bytes, for one loop.
const keepFree = 2 << 20

// buffers are the free buffers of one loop. They are used by its thread alone.
type buffers struct {
	free [len(bufferClasses)][][]byte
}

// class returns the index of the smallest class that holds n bytes, or
// len(bufferClasses) when only a mapping does.
func class(n int) int {
	for i, size := range bufferClasses {
		if n <= size {
			return i
		}
	}
	return len(bufferClasses)
}

// sizeFor returns the capacity of the buffer that grow would return for n.
func sizeFor(n int) int {
	if i := class(n); i < len(bufferClasses) {
		return bufferClasses[i]
	}
	return mapSize(n)
}

// grow returns a buffer of capacity sizeFor(n) that starts with the bytes of
// buf, and takes buf back. On an error buf stays as it is.
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

// put takes a buffer back; nil is ignored.
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
