package envelope

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
)

// A HashSource generates the hashes of rows. Its zero value is ready to use.
// Its methods may be called from any goroutine.
//
// The table has an index on the hash. With fully random hashes, each row of a
// batch would change another page of the index, which costs the database more
// than the row itself. So hashesPerPrefix consecutive hashes share a prefix.
type HashSource struct {
	mu     sync.Mutex
	prefix [prefixBytes]byte
	random [hashesPerPrefix * (hashBytes - prefixBytes)]byte
	unused int // bytes at the end of random
}

const (
	hashBytes       = 16
	hashesPerPrefix = 64
	prefixBytes     = 2 // 65,536 prefixes; an index of 16 million rows has about that many 16 KiB pages
)

// New returns a hash of 32 lower-case hexadecimal digits. Its last 28 digits
// are 112 random bits, independent of all other hashes.
func (s *HashSource) New() string {
	var b [hashBytes]byte
	s.mu.Lock()
	if s.unused == 0 {
		rand.Read(s.prefix[:]) // never fails: crypto/rand
		rand.Read(s.random[:])
		s.unused = len(s.random)
	}
	n := copy(b[:], s.prefix[:])
	s.unused -= copy(b[n:], s.random[len(s.random)-s.unused:])
	s.mu.Unlock()
	var digits [2 * hashBytes]byte
	hex.Encode(digits[:], b[:])
	return string(digits[:])
}
