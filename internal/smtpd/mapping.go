package smtpd

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Large message buffers are anonymous mappings instead of Go memory. They grow
// without a copy, and a released buffer returns to the kernel immediately, so
// that the resident size follows the budget and not the garbage collector.

// mapUnit is the granularity of mappings in bytes; a multiple of any page size.
const mapUnit = 64 << 10

// mapSize returns the size of the mapping that holds n bytes.
func mapSize(n int) int { return (n + mapUnit - 1) / mapUnit * mapUnit }

// mapNew returns zeroed memory of mapSize(n) bytes. A page uses no memory until
// it is written.
func mapNew(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, mapSize(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map buffer of %d bytes: %w", mapSize(n), err)
	}
	return b, nil
}

// mapGrow enlarges a mapping. It may move the pages, but does not copy them. If
// it returns an error, b is unchanged.
func mapGrow(b []byte, n int) ([]byte, error) {
	b, err := unix.Mremap(b[:cap(b)], mapSize(n), unix.MREMAP_MAYMOVE)
	if err != nil {
		return nil, fmt.Errorf("enlarge buffer to %d bytes: %w", mapSize(n), err)
	}
	return b, nil
}

// mapFree unmaps a buffer. A later access crashes the process.
func mapFree(b []byte) {
	if err := unix.Munmap(b[:cap(b)]); err != nil {
		panic(fmt.Sprintf("smtpd: unmap buffer: %v", err)) // it was not a mapping
	}
}
