package newmail

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"sync"

	"goguerrillad/internal/savemail"
)

// A Compressor compresses messages by zlib (RFC 1950) at its fastest level. It is
// safe for concurrent use. It reuses its zlib writers, which have several hundred
// KiB each.
type Compressor struct{ writers sync.Pool }

// Append appends the compressed blob to dst.
func (c *Compressor) Append(dst, blob []byte) []byte {
	out := bytes.NewBuffer(dst)
	w, ok := c.writers.Get().(*zlib.Writer)
	if ok {
		w.Reset(out)
	} else {
		w, _ = zlib.NewWriterLevel(out, zlib.BestSpeed) // fails only for an invalid level
	}
	w.Write(blob) // a Buffer never fails
	w.Close()
	c.writers.Put(w)
	return out.Bytes()
}

// ErrInRedis means that the column mail is empty because the message is in Redis.
// A reader of Redis handles it; without REDIS_HOST it reaches the operator.
var ErrInRedis = errors.New("the message is in Redis, not in the table, and REDIS_HOST is not set")

// Expand returns the message of a row, given its columns body and mail. With
// BodyZlib and BodyGzip it accepts zlib and gzip (RFC 1952), which other programs
// write under these names.
func Expand(body string, mail []byte) ([]byte, error) {
	switch {
	case body == BodyZlib || body == BodyGzip:
	case body == BodyRedis && len(mail) == 0:
		return nil, ErrInRedis
	default:
		return mail, nil
	}
	r, err := decompressor(mail)
	if err != nil {
		return nil, fmt.Errorf("decompress the message: %w", err)
	}
	defer r.Close()
	message, err := io.ReadAll(io.LimitReader(r, savemail.MaxBlob))
	if err == nil && len(message) == savemail.MaxBlob {
		err = errors.New("larger than the largest message")
	}
	if err != nil {
		return nil, fmt.Errorf("decompress the message: %w", err)
	}
	return message, nil
}

// decompressor returns a reader of zlib or gzip.
func decompressor(mail []byte) (io.ReadCloser, error) {
	if bytes.HasPrefix(mail, []byte{0x1f, 0x8b}) {
		return gzip.NewReader(bytes.NewReader(mail))
	}
	return zlib.NewReader(bytes.NewReader(mail))
}

// MaxHead is an upper bound of the added header fields of a message, in bytes.
const MaxHead = 4096

// ExpandHead returns the first MaxHead bytes of the message of a row, or fewer if mail has
// only the beginning of the column. The first 2*MaxHead bytes of the column are enough: a
// code of DEFLATE has at most 15 bits (RFC 1951 section 3.2.7).
func ExpandHead(body string, mail []byte) []byte {
	if body != BodyZlib && body != BodyGzip {
		return mail[:min(len(mail), MaxHead)]
	}
	r, err := decompressor(mail)
	if err != nil {
		return nil
	}
	defer r.Close()
	head, _ := io.ReadAll(io.LimitReader(r, MaxHead)) // mail ends early
	return head
}
