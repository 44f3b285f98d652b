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

// reader finds in Redis what the table does not hold.
type reader struct {
	savemail.Reader
	options Options
}

// NewReader puts Redis beside a store's reader. It connects when it is asked
// for something that is not in the table.
func NewReader(inner savemail.Reader, o Options) savemail.Reader { return &reader{inner, o} }

// errGone means that the row is there, and the message is not.
var errGone = errors.New("the message was in Redis only, and is there no more: it stays for REDIS_EXPIRE_SECONDS, unless somebody takes it")

// Show returns one mail, wherever it lies: a copy in Redis is as good as a
// table that is gone.
func (r *reader) Show(ctx context.Context, hash string) ([]byte, error) {
	mail, err := r.Reader.Show(ctx, hash)
	if err == nil {
		return mail, nil
	}
	blob, redisErr := r.get(ctx, hash)
	switch {
	case redisErr == nil:
		return expand(blob)
	case !errors.Is(redisErr, redigo.ErrNil):
		return nil, errors.Join(err, fmt.Errorf("look into Redis at %s: %w", r.options.Host, redisErr))
	case errors.Is(err, newmail.ErrInRedis):
		return nil, errGone
	}
	return nil, err
}

// List returns the newest mails. The size of a message in Redis is asked for
// there; it is 0 when it is gone or Redis does not answer.
func (r *reader) List(ctx context.Context, n int) ([]savemail.Listed, error) {
	mails, err := r.Reader.List(ctx, n)
	if err != nil {
		return nil, err
	}
	var empty []*savemail.Listed // our rows hold nothing only when Redis does
	for i := range mails {
		if mails[i].Size == 0 {
			empty = append(empty, &mails[i])
		}
	}
	if len(empty) == 0 {
		return mails, nil
	}
	kn, err := r.connect(ctx)
	if err != nil {
		return mails, nil
	}
	defer kn.Close()
	for _, m := range empty {
		if m.Size, err = redigo.Int64(kn.Do("STRLEN", m.Hash)); err != nil && !refused(err) {
			break
		}
	}
	return mails, nil
}

func (r *reader) get(ctx context.Context, hash string) ([]byte, error) {
	kn, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer kn.Close()
	return redigo.Bytes(kn.Do("GET", hash))
}

func (r *reader) connect(ctx context.Context) (*conn, error) {
	left := time.Minute
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	return connect(ctx, r.options, &left, savemail.MaxBlob)
}

// expand undoes the compression of a message, which nothing tells of but its
// own bytes: what we store as it is begins with a header field of ours.
func expand(blob []byte) ([]byte, error) {
	if bytes.HasPrefix(blob, []byte("Return-Path:")) {
		return blob, nil
	}
	return newmail.Expand(newmail.BodyZlib, blob)
}
