package smtpd_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
)

// Content types of TLS records (RFC 8446 section 5.1).
const (
	recordCCS       = 20
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23
)

// A sealer encrypts records with the client's keys of a TLS connection. It can encrypt
// malformed records, which crypto/tls cannot send. It replaces the client's Write
// after the handshake; Read is not affected.
type sealer struct {
	version uint16
	traffic []byte // the traffic secret, in TLS 1.3
	aead    cipher.AEAD
	iv      []byte
	seq     uint64
}

// intrude performs a handshake of this version on conn. It returns the client's
// connection, to read from, and a sealer for its output.
func intrude(conn net.Conn, version uint16) (*tls.Conn, *sealer, error) {
	var keys bytes.Buffer
	tap := &tap{Conn: conn}
	config := clientTLS()
	config.KeyLogWriter = &keys
	config.MinVersion, config.MaxVersion = version, version
	config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	inside := tls.Client(tap, config)
	if err := inside.Handshake(); err != nil {
		return nil, nil, err
	}
	secret := func(label string) (random, secret []byte) {
		for line := range strings.Lines(keys.String()) {
			if f := strings.Fields(line); f[0] == label {
				random, _ = hex.DecodeString(f[1])
				secret, _ = hex.DecodeString(f[2])
			}
		}
		return random, secret
	}
	s := &sealer{version: version}
	if version == tls.VersionTLS13 {
		if suite := inside.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
			return nil, nil, fmt.Errorf("cipher suite %s", tls.CipherSuiteName(suite))
		}
		_, traffic := secret("CLIENT_TRAFFIC_SECRET_0")
		s.rekey(traffic)
	} else {
		client, master := secret("CLIENT_RANDOM")
		block := prf(master, "key expansion", append(tap.serverRandom(), client...), 40)
		s.setKey(block[:16])
		s.iv, s.seq = block[32:36], 1 // record 0 was Finished
	}
	return inside, s, nil
}

// setKey sets the key of AES-128-GCM.
func (s *sealer) setKey(key []byte) {
	block, err := aes.NewCipher(key)
	if err == nil {
		s.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		panic(err)
	}
}

// rekey changes to the keys of a traffic secret (RFC 8446 section 7.3).
func (s *sealer) rekey(traffic []byte) {
	s.traffic, s.seq = traffic, 0
	s.setKey(expandLabel(traffic, "key", 16))
	s.iv = expandLabel(traffic, "iv", 12)
}

// update returns a KeyUpdate that requests a KeyUpdate of the server, and changes
// to new keys.
func (s *sealer) update() string {
	record := s.seal(recordHandshake, requestKeyUpdate)
	s.rekey(expandLabel(s.traffic, "traffic upd", sha256.Size))
	return record
}

// seal returns an encrypted record of this type.
func (s *sealer) seal(contentType byte, data string) string {
	seq := binary.BigEndian.AppendUint64(nil, s.seq)
	s.seq++
	if s.version == tls.VersionTLS13 {
		nonce := append([]byte(nil), s.iv...)
		for i, b := range seq {
			nonce[4+i] ^= b
		}
		plain := append([]byte(data), contentType)
		header := []byte{recordData, 3, 3, 0, 0}
		binary.BigEndian.PutUint16(header[3:], uint16(len(plain)+16))
		return string(s.aead.Seal(header, nonce, plain, header))
	}
	additional := binary.BigEndian.AppendUint16(append(seq[:8:8], contentType, 3, 3), uint16(len(data)))
	header := []byte{contentType, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(8+len(data)+16))
	return string(s.aead.Seal(append(header, seq...), append(s.iv[:4:4], seq...), []byte(data), additional))
}

// expandLabel is HKDF-Expand-Label without a context (RFC 8446 section 7.1).
func expandLabel(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := string([]byte{0, byte(n), byte(len(label))}) + label + "\x00"
	out, err := hkdf.Expand(sha256.New, secret, info, n)
	if err != nil {
		panic(err)
	}
	return out
}

// prf is the pseudorandom function of TLS 1.2 (RFC 5246 section 5).
func prf(secret []byte, label string, seed []byte, n int) (out []byte) {
	seed = append([]byte(label), seed...)
	mac := func(b []byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(b)
		return h.Sum(nil)
	}
	for a := mac(seed); len(out) < n; a = mac(a) {
		out = append(out, mac(append(a[:len(a):len(a)], seed...))...)
	}
	return out[:n]
}

// A tap keeps at least the first 64 bytes that are read.
type tap struct {
	net.Conn
	read []byte
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if len(t.read) < 64 {
		t.read = append(t.read, p[:n]...)
	}
	return n, err
}

// serverRandom returns the random bytes of the ServerHello. They follow the
// headers of the record and of the message, and a version.
func (t *tap) serverRandom() []byte { return append([]byte(nil), t.read[11:43]...) }
