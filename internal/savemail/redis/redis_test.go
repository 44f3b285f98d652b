package redis_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

const text = "Subject: hello\r\n\r\nbody\r\n"

// A fixture is a Redis and a store beside it.
type fixture struct {
	t      *testing.T
	server *servers.RedisServer
	conn   redigo.Conn // of the test's own
	log    test.Log
	store  savemail.Store
	inner  *ledger
}

// A ledger is a store that keeps where its messages were to be, and fails as
// it is told.
type ledger struct {
	err     error
	inRedis []bool
	hash    string // of the last recipient
	watch   func() // called by Save
}

func (l *ledger) Save(_ context.Context, batch []*envelope.Envelope) []error {
	l.inRedis = nil
	for _, e := range batch {
		for _, to := range e.To {
			l.inRedis = append(l.inRedis, to.InRedis)
			l.hash = to.Hash
		}
	}
	if l.watch != nil {
		l.watch()
	}
	return savemail.Outcome(len(batch), l.err)
}

func (l *ledger) Close() error { return nil }

// start starts a Redis with options of its own, and puts it beside a ledger.
func start(t *testing.T, change func(*redis.Options), server ...string) *fixture {
	t.Helper()
	f := startRedis(t, server...)
	f.open(change)
	return f
}

func startRedis(t *testing.T, server ...string) *fixture {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a Redis")
	}
	f := &fixture{t: t, server: servers.Redis(t, server...), inner: &ledger{}}
	f.conn = f.server.Connect(t)
	return f
}

// found waits until the first look at Redis is over.
func (f *fixture) found() {
	f.t.Helper()
	test.Await(f.t, nil, 10*time.Second, "nobody has looked at the settings", func() error {
		if f.log.Count("Redis is in use") == 0 {
			return errors.New(f.log.String())
		}
		return nil
	})
}

// open puts Redis beside the ledger; it is closed with the test.
func (f *fixture) open(change func(*redis.Options)) {
	o := redis.Options{Host: f.server.Addr, InPlace: true, Expire: time.Hour, Log: f.log.Logger()}
	if change != nil {
		change(&o)
	}
	f.store = redis.New(f.inner, o)
	f.t.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			f.t.Error(err)
		}
	})
}

// save saves a mail for n recipients within the time that Redis may cost, and
// reports which of them the store was told to be in Redis.
func (f *fixture) save(n int) (*envelope.Envelope, []bool) {
	f.t.Helper()
	e := storetest.Envelope(text, slices.Repeat([]string{"b@example.com"}, n)...)
	begun := time.Now()
	errs := f.store.Save(f.t.Context(), []*envelope.Envelope{e})
	// Not the second itself: the machine may be busy.
	if took := time.Since(begun); took > 5*time.Second {
		f.t.Errorf("Save took %v", took)
	}
	if len(errs) != 1 || !errors.Is(errs[0], f.inner.err) {
		f.t.Errorf("outcomes %v, want that of the store: %v", errs, f.inner.err)
	}
	return e, f.inner.inRedis
}

// await saves until the store is told that the message is in Redis.
func (f *fixture) await() *envelope.Envelope {
	f.t.Helper()
	var e *envelope.Envelope
	test.Await(f.t, nil, 30*time.Second, "no message gets to Redis", func() error {
		var in []bool
		if e, in = f.save(1); !in[0] {
			return errors.New(f.log.String())
		}
		return nil
	})
	return e
}

// want compares what is in Redis under a hash; "" is nothing.
func (f *fixture) want(hash, message string) {
	f.t.Helper()
	got, err := redigo.String(f.conn.Do("GET", hash))
	if err != nil && !errors.Is(err, redigo.ErrNil) {
		f.t.Fatal(err)
	}
	if got != message {
		f.t.Errorf("Redis has %q, want %q", got, message)
	}
}

// logged wants a text in the log so often.
func (f *fixture) logged(part string, times int) {
	f.t.Helper()
	if n := f.log.Count(part); n != times {
		f.t.Errorf("the log has %q %d times, want %d:\n%s", part, n, times, f.log.String())
	}
}

// TestStores holds Redis beside real stores to the contract of a store, and to
// what the rows are to say.
func TestStores(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Redis and MariaDB")
	}
	server := servers.Redis(t)
	conn := server.Connect(t)
	maria := servers.MariaDB(t, "--max-allowed-packet=64M")
	db := maria.Connect(t)
	lite := func(t *testing.T, compress bool) storetest.Harness {
		o := sqlite.Options{File: filepath.Join(t.TempDir(), "mail.db"), Table: "new_mail", Compress: compress, Log: slog.New(slog.DiscardHandler)}
		return storetest.Harness{
			Store:  sqlite.New(o),
			Rows:   func(t *testing.T) []storetest.Row { return selectFile(t, o.File) },
			Reopen: func(*testing.T) savemail.Store { return sqlite.New(o) },
			Reader: func(t *testing.T) savemail.Reader { return must(sqlite.NewReader(o)) },
		}
	}
	my := func(t *testing.T, compress bool) storetest.Harness {
		maria.Exec(t, "DROP TABLE IF EXISTS mail.new_mail")
		maria.CreateTable(t, "new_mail")
		o := mysql.Options{Hosts: []string{maria.Socket}, User: maria.User, Pass: maria.Pass, DB: maria.DB,
			Table: "new_mail", Compress: compress, Log: slog.New(slog.DiscardHandler)}
		return storetest.Harness{
			Store:  must(mysql.New(o)),
			Rows:   func(t *testing.T) []storetest.Row { return storetest.Select(t, db, "new_mail", "`") },
			Reopen: func(*testing.T) savemail.Store { return must(mysql.New(o)) },
			Reader: func(t *testing.T) savemail.Reader { return must(mysql.NewReader(o)) },
		}
	}
	for _, tt := range []struct {
		name              string
		inner             func(*testing.T, bool) storetest.Harness
		compress, inPlace bool
	}{
		{"sqlite, copies", lite, false, false},
		{"sqlite, in place, compressed", lite, true, true},
		{"mysql, copies, compressed", my, true, false},
		{"mysql, in place", my, false, true},
	} {
		o := redis.Options{Host: server.Socket, InPlace: tt.inPlace, Expire: time.Hour, Compress: tt.compress,
			Log: slog.New(slog.DiscardHandler)}
		get := func(t *testing.T, hash string) []byte {
			message, err := redigo.Bytes(conn.Do("GET", hash))
			if err != nil {
				t.Fatalf("GET %s: %v", hash, err)
			}
			return message
		}
		t.Run(tt.name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Harness {
				h := beside(tt.inner(t, tt.compress), o)
				if tt.inPlace {
					h.InRedis = get
					return h
				}
				rows := h.Rows
				h.Rows = func(t *testing.T) []storetest.Row {
					list := rows(t)
					for _, row := range list {
						if copied := get(t, row.Hash); string(copied) != string(row.Mail) {
							t.Errorf("the copy in Redis has %d bytes, the row %d: %.200q", len(copied), len(row.Mail), copied)
						}
					}
					return list
				}
				return h
			})
		})
	}
}

// beside puts Redis beside what a harness has.
func beside(h storetest.Harness, o redis.Options) storetest.Harness {
	inner, reopen, reader := h.Store, h.Reopen, h.Reader
	h.Compressed = o.Compress
	h.Store = redis.New(inner, o)
	h.Reopen = func(t *testing.T) savemail.Store { return redis.New(reopen(t), o) }
	h.Reader = func(t *testing.T) savemail.Reader { return redis.NewReader(reader(t), o) }
	return h
}

func selectFile(t *testing.T, file string) []storetest.Row {
	t.Helper()
	db := must(sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)"))
	defer db.Close()
	return storetest.Select(t, db, "new_mail", `"`)
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}
