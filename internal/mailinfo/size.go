package mailinfo

import "bytes"

// decodedSize returns the number of bytes that body has after decoding, without
// decoding it. An unknown transfer encoding counts as no encoding.
func decodedSize(transferEncoding string, body []byte) int64 {
	switch transferEncoding {
	case "base64":
		return base64Size(body)
	case "quoted-printable":
		return qpSize(body)
	case "x-uuencode", "uuencode", "x-uue", "uue":
		return uuSize(body)
	}
	return int64(len(body))
}

// base64Size counts the characters of the alphabet and ignores other characters (RFC
// 2045 section 6.8). Padding ends a group of four, as in appendBase64: many
// encoders pad each line or each block.
func base64Size(body []byte) int64 {
	var size int64
	for more := true; more; {
		var group []byte
		group, body, more = bytes.Cut(body, []byte("="))
		var n int64
		for _, c := range group {
			n += int64(base64Values[c]>>6 ^ 1) // 0 or 1, without a branch
		}
		// Four characters are three bytes; a single character is no byte.
		size += n/4*3 + [4]int64{0, 0, 1, 2}[n%4]
	}
	return size
}

// qpSize counts by RFC 2045 section 6.7: =XX is one byte, an equals sign and
// blanks at the end of a line are a soft line break, other blanks there are
// ignored. Anything else counts as it is.
func qpSize(body []byte) int64 {
	size := len(body)
	for pos := 0; pos < len(body); {
		line, next := cutLine(body, pos)
		text := bytes.TrimRight(line, " \t")
		size -= len(line) - len(text)
		if bytes.HasSuffix(text, []byte("=")) {
			text = text[:len(text)-1]
			size -= 1 + next - pos - len(line)
		}
		for i := bytes.IndexByte(text, '='); i >= 0; i = bytes.IndexByte(text, '=') {
			text = text[i+1:]
			if len(text) >= 2 && isHex(text[0]) && isHex(text[1]) {
				text = text[2:]
				size -= 2
			}
		}
		pos = next
	}
	return int64(size)
}

// uuSize adds the lengths that the lines between "begin" and "end" declare (POSIX
// uuencode), which are right even if blanks, the digit zero, were removed at the
// end of lines. It returns at most len(body). A body without "begin" is not encoded.
func uuSize(body []byte) int64 {
	size, pos := 0, 0
	for begun := false; !begun; {
		if pos == len(body) {
			return int64(len(body))
		}
		var line []byte
		line, pos = cutLine(body, pos)
		begun = bytes.HasPrefix(line, []byte("begin "))
	}
	for pos < len(body) {
		var line []byte
		line, pos = cutLine(body, pos)
		if bytes.Equal(bytes.TrimRight(line, " \t\r"), []byte("end")) {
			break
		}
		if len(line) > 0 && ' ' <= line[0] && line[0] <= '`' {
			size += int(line[0]-' ') & 63
		}
	}
	return int64(min(size, len(body)))
}

// base64Values holds the value of each character of the alphabet (RFC 4648
// section 4), and 64 for all other characters.
var base64Values = func() (values [256]byte) {
	for i := range values {
		values[i] = 64
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i, c := range []byte(alphabet) {
		values[c] = byte(i)
	}
	return values
}()

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f'
}

// unhex returns the value of a hexadecimal digit.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
