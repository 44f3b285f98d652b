package smtpd

import (
	"encoding/binary"
	"io"
	"slices"
)

// crypto/tls reads a whole record into one buffer and collects the ClientHello in another, and it
// keeps both. A ClientHello with ML-KEM has about 1.5 KiB, so each idle connection would keep
// buffers of this size that no other record needs. A message may be divided among records (RFC 8446
// section 5.1), so crypto/tls receives the first record as several small ones.

const (
	recordHeader    = 5       // bytes: type, version, length (RFC 8446 section 5.1)
	recordHandshake = 22      // type
	maxMajorVersion = 15      // crypto/tls refuses the header of a record with a greater version
	maxRecord       = 1 << 14 // bytes of a record that is not encrypted
	maxFragment     = 256     // bytes of the largest small record
	helloRoom       = 2048    // bytes; most ClientHellos fit
)

// readHello waits for the first record of the client. If it is not a record with one message or a
// part of it, crypto/tls receives its bytes as they are.
func (h *handshake) readHello(w *wire) error {
	in := append(make([]byte, 0, max(helloRoom, len(w.arrived))), w.arrived...)
	for !hasRecord(in) {
		in = slices.Grow(in, maxFragment)
		n, err := w.readWaiting(in[len(in):cap(in)])
		in = in[:len(in)+n]
		if err == io.EOF { // crypto/tls distinguishes an EOF within a record
			break
		}
		if err != nil {
			return err
		}
	}
	w.arrived = in
	if size := recordSize(in); size > 0 && size <= len(in) && oneMessage(in[recordHeader:size]) {
		h.hello, h.recordType = in[recordHeader:size], [3]byte(in)
		h.fragment = fragmentSize(len(h.hello))
		w.arrived = append([]byte(nil), in[size:]...) // mostly nil, which releases the array of in
	}
	return nil
}

// hasRecord reports whether no more bytes are needed to divide the first record, or to see that
// it is not divided.
func hasRecord(in []byte) bool {
	return len(in) >= recordHeader && recordSize(in) <= len(in) || len(in) > 0 && in[0] != recordHandshake
}

// recordSize returns the size of the record at the start of in, with its header, or 0 if in has
// no header of a valid record of the handshake.
func recordSize(in []byte) int {
	if len(in) < recordHeader || in[0] != recordHandshake || in[1] > maxMajorVersion {
		return 0
	}
	n := int(binary.BigEndian.Uint16(in[3:]))
	if n == 0 || n > maxRecord {
		return 0
	}
	return recordHeader + n
}

// oneMessage reports whether the content of a record is one message of the handshake or its
// beginning. crypto/tls refuses a ClientHello that another message follows in the same record, so
// it must see that they were in the same one.
func oneMessage(content []byte) bool {
	const header = 4 // bytes: type, length (RFC 8446 section 4)
	if len(content) < header {
		return false
	}
	length := binary.BigEndian.Uint32(content) & 0xFFFFFF
	return len(content) <= header+int(length)
}

// fragmentSize returns the size of the small records for n bytes. crypto/tls doubles the buffer in
// which it collects them when it is full. Up to 2 KiB, there are at most eight small records, and
// the buffer ends at n bytes or up to a quarter more.
func fragmentSize(n int) int {
	const (
		records = 8
		step    = 16 // Go allocates most multiples of 16 bytes, their doubles and so on exactly
	)
	return min((n+records*step-1)/(records*step)*step, maxFragment)
}

// readFragment sets p to the next small record with a part of the client's first record. It
// returns 0 if all of it was read.
func (h *handshake) readFragment(p []byte) int {
	n := min(len(h.hello), h.fragment, len(p)-recordHeader)
	if n <= 0 {
		return 0
	}
	copy(p, h.recordType[:])
	binary.BigEndian.PutUint16(p[len(h.recordType):], uint16(n))
	copy(p[recordHeader:], h.hello[:n])
	h.hello = h.hello[n:]
	return recordHeader + n
}
