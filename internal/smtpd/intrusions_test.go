package smtpd_test

import "strings"

// TLS handshake messages: a type, a length of three bytes, and a body (RFC 8446
// section 4).
const (
	helloRequest     = "\x00\x00\x00\x00"
	clientHello      = "\x01\x00\x00\x2b\x03\x03" + "01234567890123456789012345678901" + "\x00\x00\x02\x13\x01\x01\x00\x00\x00"
	finished         = "\x14\x00\x00\x0c0123456789ab"
	keyUpdate        = "\x18\x00\x00\x01\x00"
	requestKeyUpdate = "\x18\x00\x00\x01\x01"
)

// versions are the TLS versions in which the server replies to an intrusion with
// an alert.
type versions uint8

const (
	none versions = iota
	only13
	both
)

// intrusions are inputs that end a TLS connection: the client's next bytes, and
// the versions in which the server sends an alert.
var intrusions = []struct {
	name  string
	bytes func(*sealer) string
	alert versions
}{
	{"forged record", clear("\x17\x03\x03\x00\x40" + strings.Repeat("x", 64)), both},
	{"flipped bit", func(s *sealer) string {
		record := []byte(s.seal(recordData, "NOOP\r\n"))
		record[len(record)-1] ^= 1
		return string(record)
	}, both},
	{"repeated record", func(s *sealer) string { return strings.Repeat(s.seal(recordData, "NOOP\r\n"), 2) }, both},
	{"short record", clear("\x17\x03\x03\x00\x01x"), both},
	{"command in clear", clear("EHLO x\r\n"), both},
	{"other version", clear("\x17\x02\x00\x00\x40"), both},
	{"oversized record", clear("\x17\x03\x03\xff\xff"), both},
	{"oversized plaintext", sealed(recordData, strings.Repeat("x", 1<<14+1)), both},
	{"unknown type", sealed(99, "x"), both},
	{"alert in clear", clear("\x15\x03\x03\x00\x02\x02\x28"), both},
	{"long alert", sealed(recordAlert, "\x02\x28\x28"), both},
	{"fatal alert", sealed(recordAlert, "\x02\x28"), none},
	{"close_notify", sealed(recordAlert, "\x01\x00"), none},
	{"flood of warnings", many(recordAlert, "\x01\x5a"), both}, // user_canceled
	{"flood of empty records", many(recordData, ""), both},
	{"empty message", sealed(recordHandshake, ""), both},
	{"ClientHello", sealed(recordHandshake, clientHello), both},
	{"Finished", sealed(recordHandshake, finished), both},
	{"unknown message", sealed(recordHandshake, "\x63\x00\x00\x00"), both},
	{"oversized message", sealed(recordHandshake, "\x18\xff\xff\xff"), both},
	{"data within a message", func(s *sealer) string {
		return s.seal(recordHandshake, keyUpdate[:2]) + s.seal(recordData, "NOOP\r\n")
	}, only13},
	{"bad KeyUpdate", sealed(recordHandshake, "\x18\x00\x00\x01\x07"), both},
	{"flood of KeyUpdate", sealed(recordHandshake, strings.Repeat(keyUpdate, 40)), both},
	{"flood of requested KeyUpdate", sealed(recordHandshake, strings.Repeat(requestKeyUpdate, 40)), both},
	{"requested KeyUpdate, then a forged record", func(s *sealer) string {
		return s.seal(recordHandshake, requestKeyUpdate) + s.seal(recordData, "NOOP\r\n") // with the old keys
	}, both},
	{"renegotiation", sealed(recordHandshake, helloRequest), only13}, // in TLS 1.2 the alert is a warning, which the client ignores
	{"half a record", clear("\x17\x03\x03\x00\x40xxx"), none},
	{"end", clear(""), none},
}

func clear(bytes string) func(*sealer) string {
	return func(*sealer) string { return bytes }
}

func sealed(contentType byte, data string) func(*sealer) string {
	return func(s *sealer) string { return s.seal(contentType, data) }
}

func many(contentType byte, data string) func(*sealer) string {
	return func(s *sealer) string {
		var all strings.Builder
		for range 40 {
			all.WriteString(s.seal(contentType, data))
		}
		return all.String()
	}
}
