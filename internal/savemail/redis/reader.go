package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// A reader reads messages from Redis that are not in the table.
type reader struct {
	savemail.Reader
	options Options
}

// NewReader returns a reader of inner's table and of Redis. It connects to Redis
// only for messages that are not in the table.
func NewReader(inner savemail.Reader, o Options) savemail.Reader { return &reader{inner, o} }

// errGone means that Redis no longer has the message of an existing row.
var errGone = errors.New("the message was only in Redis and is no longer there: it has expired (REDIS_EXPIRE_SECONDS) or was deleted")

// Show returns one message from the table, or from Redis if the table does not have
// the message or cannot be read.
func (r *reader) Show(ctx context.Context, hash string) ([]byte, error) {
	message, err := r.Reader.Show(ctx, hash)
	if err == nil {
		return message, nil
	}
	blob, redisErr := r.get(ctx, hash)
	switch {
	case redisErr == nil:
		return expand(blob)
	case !errors.Is(redisErr, redigo.ErrNil):
		return nil, errors.Join(err, fmt.Errorf("read from Redis at %s: %w", r.options.Host, redisErr))
	case errors.Is(err, newmail.ErrInRedis):
		return nil, errGone
	}
	return nil, err
}

// List returns the newest messages. It asks Redis for the size of a message
// that is not in the table. The size is 0 if Redis does not have the message or
// does not reply.
func (r *reader) List(ctx context.Context, f savemail.Filter) ([]savemail.Listed, error) {
	list, err := r.Reader.List(ctx, f)
	if err != nil {
		return nil, err
	}
	var empty []*savemail.Listed // rows without the message
	for i := range list {
		if list[i].Size == 0 {
			empty = append(empty, &list[i])
		}
	}
	if len(empty) == 0 {
		return list, nil
	}
	conn, err := r.connect(ctx)
	if err != nil {
		return list, nil
	}
	defer conn.Close()
	for _, m := range empty {
		if m.Size, err = redigo.Int64(conn.Do("STRLEN", m.Hash)); err != nil && !isErrorReply(err) {
			break
		}
	}
	return list, nil
}

func (r *reader) get(ctx context.Context, hash string) ([]byte, error) {
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return redigo.Bytes(conn.Do("GET", hash))
}

func (r *reader) connect(ctx context.Context) (*connection, error) {
	remaining := time.Minute
	if deadline, ok := ctx.Deadline(); ok {
		remaining = time.Until(deadline)
	}
	return connect(ctx, r.options, &remaining, savemail.MaxBlob)
}

// expand decompresses a message if it is compressed. An uncompressed message
// begins with the first header field that the daemon adds.
func expand(blob []byte) ([]byte, error) {
	if bytes.HasPrefix(blob, []byte("Return-Path:")) {
		return blob, nil
	}
	return newmail.Expand(newmail.BodyZlib, blob)
}
