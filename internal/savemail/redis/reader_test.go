package redis_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
	"goguerrillad/internal/savemail/redis"
)

// TestReader: Show reads from the table or from Redis, and returns an error for a
// message that is in neither.
func TestReader(t *testing.T) {
	f := start(t, nil)
	tableErr := errors.New("the table is unavailable")
	show := func(err error, o redis.Options, hash string) (string, error) {
		r := redis.NewReader(reader{err}, o)
		defer r.Close()
		message, err := r.Show(t.Context(), hash)
		return string(message), err
	}
	here := redis.Options{Host: f.server.Addr}
	f.do("SET", "plain", "Return-Path: <>\r\n\r\nx")
	f.do("SET", "zlib", string(new(newmail.Compressor).Append(nil, []byte("\x78\x01 of 2012"))))
	f.do("SET", "other", "neither")
	for _, tt := range []struct {
		err        error
		o          redis.Options
		hash, want string
		wantErr    string
	}{
		{newmail.ErrInRedis, here, "plain", "Return-Path: <>\r\n\r\nx", ""},
		{newmail.ErrInRedis, here, "zlib", "\x78\x01 of 2012", ""},
		{savemail.ErrNotFound, here, "plain", "Return-Path: <>\r\n\r\nx", ""},
		{tableErr, here, "plain", "Return-Path: <>\r\n\r\nx", ""},
		{newmail.ErrInRedis, here, "gone", "", "is no longer there"},
		{newmail.ErrInRedis, here, "other", "", "decompress the message"},
		{savemail.ErrNotFound, here, "gone", "", savemail.ErrNotFound.Error()},
		{tableErr, here, "gone", "", tableErr.Error()},
		{newmail.ErrInRedis, redis.Options{Host: "127.0.0.1:1"}, "plain", "", "read from Redis at 127.0.0.1:1"},
	} {
		got, err := show(tt.err, tt.o, tt.hash)
		if got != tt.want {
			t.Errorf("%s, the table returns %v: Show returns %q, want %q", tt.hash, tt.err, got, tt.want)
		}
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s, the table returns %v: Show returns the error %v, want %q", tt.hash, tt.err, err, tt.wantErr)
		}
	}
}

// A reader is a table whose reads return err.
type reader struct{ err error }

func (r reader) List(context.Context, savemail.Filter) ([]savemail.Listed, error) {
	return nil, r.err
}
func (r reader) Hashes(context.Context, string, int) ([]string, error) { return nil, r.err }
func (r reader) Show(context.Context, string) ([]byte, error)          { return nil, r.err }
func (r reader) Close() error                                          { return nil }

// A listed is a table whose List returns rows.
type listed struct {
	reader
	rows []savemail.Listed
}

func (l listed) List(context.Context, savemail.Filter) ([]savemail.Listed, error) {
	return slices.Clone(l.rows), l.err
}

// TestListSizes: List asks Redis for the size of a message that is only in Redis.
func TestListSizes(t *testing.T) {
	f := startRedis(t)
	f.do("SET", "here", "12345")
	f.do("SET", "in both", "12345")
	f.do("LPUSH", "list", "x")
	rows := []savemail.Listed{{Hash: "gone"}, {Hash: "list"}, {Hash: "here"}, {Hash: "in both", Size: 7}, {Hash: "here"}}
	for _, tt := range []struct {
		host string
		want []int64
	}{
		{f.server.Addr, []int64{0, 0, 5, 7, 5}},
		{"127.0.0.1:1", []int64{0, 0, 0, 7, 0}},
	} {
		r := redis.NewReader(listed{rows: rows}, redis.Options{Host: tt.host})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		list, err := r.List(ctx, savemail.Filter{N: 10})
		var got []int64
		for _, m := range list {
			got = append(got, m.Size)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: the sizes are %d, want %d (error %v)", tt.host, got, tt.want, err)
		}
		if _, err := redis.NewReader(listed{rows: rows, reader: reader{errors.New("the table is unavailable")}}, redis.Options{Host: tt.host}).List(ctx, savemail.Filter{N: 10}); err == nil {
			t.Errorf("%s: List of an unavailable table returns no error", tt.host)
		}
	}
}
