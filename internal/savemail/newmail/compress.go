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

// A Compressor writes blobs as zlib (RFC 1950), fast rather than small as the
// original did. It is safe for concurrent use and keeps its writers, each some
// hundred KiB, for as long as the garbage collector lets it.
type Compressor struct{ writers sync.Pool }

// Append appends the compressed blob to dst.
func (c *Compressor) Append(dst, blob []byte) []byte {
	out := bytes.NewBuffer(dst)
	w, ok := c.writers.Get().(*zlib.Writer)
	if ok {
		w.Reset(out)
	} else {
		w, _ = zlib.NewWriterLevel(out, zlib.BestSpeed) // fails for a bad level alone
	}
	w.Write(blob) // a Buffer takes everything
	w.Close()
	c.writers.Put(w)
	return out.Bytes()
}

// ErrInRedis means that the column mail is empty because Redis has the message.
var ErrInRedis = errors.New("the message lies in Redis, not in the table: REDIS_HOST must say where")

// Expand returns the mail of a row, given its columns body and mail. What says
// BodyZlib may be gzip (RFC 1952) as well: other writers of such tables took
// the name at its word.
func Expand(body string, mail []byte) ([]byte, error) {
	switch {
	case body == BodyZlib:
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
		return nil, fmt.Errorf("expand the mail: %w", err)
	}
	defer r.Close()
	message, err := io.ReadAll(io.LimitReader(r, savemail.MaxBlob))
	if err == nil && len(message) == savemail.MaxBlob {
		err = errors.New("too many bytes for a message")
	}
	if err != nil {
		return nil, fmt.Errorf("expand the mail: %w", err)
	}
	return message, nil
}
