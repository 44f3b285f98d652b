package powerfs

const chunkSize = 64 << 10

// A content is the bytes of a file, in chunks; a nil or missing chunk contains zeros.
type content struct{ chunks [][]byte }

// each splits [off, off+n) at the borders of chunks and calls do for each part. at is
// the offset of the part in the range. With create it makes missing chunks; otherwise
// their parts are nil.
func (c *content) each(off, n int64, create bool, do func(part []byte, at, length int64)) {
	for at := int64(0); at < n; {
		number, start := (off+at)/chunkSize, (off+at)%chunkSize
		length := min(chunkSize-start, n-at)
		if create {
			for int64(len(c.chunks)) <= number {
				c.chunks = append(c.chunks, nil)
			}
			if c.chunks[number] == nil {
				c.chunks[number] = make([]byte, chunkSize)
			}
		}
		var part []byte
		if number < int64(len(c.chunks)) && c.chunks[number] != nil {
			part = c.chunks[number][start : start+length]
		}
		do(part, at, length)
		at += length
	}
}

// read reads from an offset.
func (c *content) read(off int64, into []byte) {
	c.each(off, int64(len(into)), false, func(part []byte, at, length int64) {
		if part == nil {
			clear(into[at : at+length])
		} else {
			copy(into[at:], part)
		}
	})
}

// write writes data at an offset.
func (c *content) write(off int64, data []byte) {
	c.each(off, int64(len(data)), true, func(part []byte, at, _ int64) {
		copy(part, data[at:])
	})
}

// zero clears n bytes from an offset.
func (c *content) zero(off, n int64) {
	n = min(n, int64(len(c.chunks))*chunkSize-off)
	c.each(off, n, false, func(part []byte, _, _ int64) { clear(part) })
}
