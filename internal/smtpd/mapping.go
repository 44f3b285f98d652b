package smtpd

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Large message buffers are mappings of their own instead of Go memory: they
// grow without being copied, and what is given back leaves the process at
// once, so that its resident size follows the budget and not the collector's
// last cycle.

// mapUnit is the granularity of mappings in bytes; a multiple of any page size.
const mapUnit = 64 << 10

// mapSize returns the size of the mapping that holds n bytes.
func mapSize(n int) int { return (n + mapUnit - 1) / mapUnit * mapUnit }

// mapNew returns zeroed memory of mapSize(n) bytes. Its pages cost nothing
// until they are written.
func mapNew(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, mapSize(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map a buffer of %d bytes: %w", mapSize(n), err)
	}
	return b, nil
}

// mapGrow makes a mapping larger; its pages move, their bytes are not copied.
// On an error b stays as it is.
func mapGrow(b []byte, n int) ([]byte, error) {
	b, err := unix.Mremap(b[:cap(b)], mapSize(n), unix.MREMAP_MAYMOVE)
	if err != nil {
		return nil, fmt.Errorf("enlarge a buffer to %d bytes: %w", mapSize(n), err)
	}
	return b, nil
}

// mapFree returns a mapping to the system. Whoever touches it later crashes.
func mapFree(b []byte) {
	if err := unix.Munmap(b[:cap(b)]); err != nil {
		panic(fmt.Sprintf("smtpd: unmap a buffer: %v", err)) // it was not ours
	}
}
