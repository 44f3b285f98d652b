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
	var r io.ReadCloser
	var err error
	if bytes.HasPrefix(mail, []byte{0x1f, 0x8b}) {
		r, err = gzip.NewReader(bytes.NewReader(mail))
	} else {
		r, err = zlib.NewReader(bytes.NewReader(mail))
	}
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
