package smtpd

import (
	"crypto/rand"
	"encoding/binary"
)

// idDigits are the digits of base 32, without letters that look alike.
const idDigits = "0123456789abcdefghjkmnpqrstvwxyz"

// idBits is the size of a session's number in bits: 12 digits of 5 bits.
const idBits = 60

// randomStart returns the number of the first session. It is random, so that the
// ids differ from the ids of an earlier process.
func randomStart() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return binary.LittleEndian.Uint64(b[:])
}

// NewID returns the id of a session: 12 digits of base 32, unique in this process.
func (s *Server) NewID() string {
	// Multiplying by an odd factor permutes the numbers, so that consecutive ids
	// look different.
	n := s.ids.Add(1) * 0x9e3779b97f4a7c15 & (1<<idBits - 1)
	var id [idBits / 5]byte
	for i := range id {
		id[i] = idDigits[n&31]
		n >>= 5
	}
	return string(id[:])
}
