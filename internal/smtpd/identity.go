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
//
// A table has an index of them. Were each random as a whole, each row of a
// batch would change another page of that index, which costs a database more
// than the row itself. So alikeHashes in a row begin with the same digits.
type Hashes struct {
	mu     sync.Mutex
	head   [alikeBytes]byte
	random [alikeHashes * (hashBytes - alikeBytes)]byte
	unused int // bytes at the end of random
}

const (
	hashBytes   = 16
	alikeHashes = 64
	alikeBytes  = 2 // as many beginnings as an index of 16 million rows has pages of 16 KiB
)

// New returns 32 lower-case hexadecimal digits, of which all but the first 4
// tell nothing of any other hash: 112 random bits.
func (h *Hashes) New() string {
	var b [hashBytes]byte
	h.mu.Lock()
	if h.unused == 0 {
		rand.Read(h.head[:]) // never fails: crypto/rand
		rand.Read(h.random[:])
		h.unused = len(h.random)
	}
	n := copy(b[:], h.head[:])
	h.unused -= copy(b[n:], h.random[len(h.random)-h.unused:])
	h.mu.Unlock()
	var digits [2 * hashBytes]byte
	hex.Encode(digits[:], b[:])
	return string(digits[:])
}
