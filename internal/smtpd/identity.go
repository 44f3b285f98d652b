package smtpd

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync"
)

// idDigits is base32 without letters that look alike.
const idDigits = "0123456789abcdefghjkmnpqrstvwxyz"

// idBits is the size of a session id's number: 12 digits of 5 bits.
const idBits = 60

// randomStart returns where the numbers of this process's sessions begin, so
// that ids differ from those of an earlier process.
func randomStart() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return binary.LittleEndian.Uint64(b[:])
}

// NewID returns the id of a session: 12 digits, unique in this process.
func (s *Server) NewID() string {
	// An odd factor permutes the numbers: neighbours look nothing alike.
	n := s.ids.Add(1) * 0x9e3779b97f4a7c15 & (1<<idBits - 1)
	var id [idBits / 5]byte
	for i := range id {
		id[i] = idDigits[n&31]
		n >>= 5
	}
	return string(id[:])
}

// Hashes makes the hashes of rows. Its zero value is ready, and may be used
// from any goroutine.
type Hashes struct {
	mu     sync.Mutex
	random [1024]byte // one call of the system for 64 hashes
	unused int        // bytes at the end of random
}

// New returns 32 lower-case hexadecimal digits, 128 random bits.
func (h *Hashes) New() string {
	var b [16]byte
	h.mu.Lock()
	if h.unused == 0 {
		rand.Read(h.random[:]) // never fails: crypto/rand
		h.unused = len(h.random)
	}
	copy(b[:], h.random[len(h.random)-h.unused:])
	h.unused -= len(b)
	h.mu.Unlock()
	var digits [32]byte
	hex.Encode(digits[:], b[:])
	return string(digits[:])
}
