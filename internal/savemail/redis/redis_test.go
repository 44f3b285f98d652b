package redis_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

// A fixture is a Redis server and a Store around a recorder.
type fixture struct {
	t      *testing.T
	server *servers.RedisServer
	conn   redigo.Conn // of the test
	log    test.Log
	store  savemail.Store
	inner  *recorder
}

// A recorder is an inner store. It records which messages are marked as in Redis,
// and returns err.
type recorder struct {
	err     error
	inRedis []bool
	hash    string // of the last recipient
	onSave  func() // called by Save; may be nil
}

func (r *recorder) Save(_ context.Context, batch []*envelope.Envelope) []error {
	r.inRedis = nil
	for _, e := range batch {
		for _, to := range e.To {
			r.inRedis = append(r.inRedis, to.InRedis)
			r.hash = to.Hash
		}
	}
	if r.onSave != nil {
		r.onSave()
	}
	return savemail.Outcome(len(batch), r.err)
}

func (r *recorder) Close() error { return nil }

// start starts a Redis server with these arguments, and opens a Store.
func start(t *testing.T, change func(*redis.Options), server ...string) *fixture {
	t.Helper()
	f := startRedis(t, server...)
	f.open(change)
	return f
}

// startRedis starts a Redis server and opens no Store.
func startRedis(t *testing.T, server ...string) *fixture {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a Redis")
	}
	f := &fixture{t: t, server: servers.Redis(t, server...), inner: &recorder{}}
	f.conn = f.server.Connect(t)
	return f
}

// awaitConnected waits until a probe has succeeded.
func (f *fixture) awaitConnected() {
	f.t.Helper()
	test.Await(f.t, nil, 10*time.Second, "the client does not connect", func() error {
		if f.log.Count(connected) == 0 {
			return errors.New(f.log.String())
		}
		return nil
	})
}

// open opens a Store, which is closed at the end of the test.
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

// save saves a message for n recipients and checks the time of the Save. It returns
// for each recipient whether the message was marked as in Redis.
func (f *fixture) save(n int) (*envelope.Envelope, []bool) {
	f.t.Helper()
	e := storetest.Envelope(text, slices.Repeat([]string{"b@example.com"}, n)...)
	start := time.Now()
	errs := f.store.Save(f.t.Context(), []*envelope.Envelope{e})
	// The limit is greater than saveTimeout, since the machine may be busy.
	if took := time.Since(start); took > 5*time.Second {
		f.t.Errorf("Save took %v, want at most 5 s", took)
	}
	if len(errs) != 1 || !errors.Is(errs[0], f.inner.err) {
		f.t.Errorf("outcomes %v, want %v of the inner store", errs, f.inner.err)
	}
	return e, f.inner.inRedis
}

// awaitStored saves messages until Redis has stored one, and returns it.
func (f *fixture) awaitStored() *envelope.Envelope {
	f.t.Helper()
	var e *envelope.Envelope
	test.Await(f.t, nil, 30*time.Second, "Redis stores no message", func() error {
		var in []bool
		if e, in = f.save(1); !in[0] {
			return errors.New(f.log.String())
		}
		return nil
	})
	return e
}

// checkMessage checks the message that Redis has under a hash; "" means none.
func (f *fixture) checkMessage(hash, message string) {
	f.t.Helper()
	got, err := redigo.String(f.conn.Do("GET", hash))
	if err != nil && !errors.Is(err, redigo.ErrNil) {
		f.t.Fatal(err)
	}
	if got != message {
		f.t.Errorf("Redis has %q under %s, want %q", got, hash, message)
	}
}

// checkLog checks how often the log contains a text.
func (f *fixture) checkLog(text string, times int) {
	f.t.Helper()
	if n := f.log.Count(text); n != times {
		f.t.Errorf("the log contains %q %d times, want %d:\n%s", text, n, times, f.log.String())
	}
}

// TestStores runs the suite of stores with SQLite and MariaDB as inner stores. It
// also checks the messages in Redis.
func TestStores(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Redis and MariaDB")
	}
	server := servers.Redis(t)
	conn := server.Connect(t)
	maria := servers.MariaDB(t, "--max-allowed-packet=64M")
	db := maria.Connect(t)
	sqliteHarness := func(t *testing.T, compress bool) storetest.Harness {
		o := sqlite.Options{File: filepath.Join(t.TempDir(), "mail.db"), Table: "new_mail", Compress: compress, Log: slog.New(slog.DiscardHandler)}
		return storetest.Harness{
			Store:  sqlite.New(o),
			Rows:   func(t *testing.T) []storetest.Row { return selectFile(t, o.File) },
			Reopen: func(*testing.T) savemail.Store { return sqlite.New(o) },
			Reader: func(t *testing.T) savemail.Reader { return must(sqlite.NewReader(o)) },
		}
	}
	mysqlHarness := func(t *testing.T, compress bool) storetest.Harness {
		maria.Exec(t, "DROP TABLE IF EXISTS mail.new_mail")
		maria.CreateTable(t, "new_mail")
		maria.GrantDelete(t, "new_mail")
		o := mysql.Options{Hosts: []string{maria.Socket}, User: maria.User, Pass: maria.Pass, DB: maria.DB,
			Table: "new_mail", Compress: compress, Log: slog.New(slog.DiscardHandler)}
		return storetest.Harness{
			Store:  must(mysql.New(o)),
			Rows:   func(t *testing.T) []storetest.Row { return storetest.Select(t, db, "new_mail", "`") },
			Reopen: func(*testing.T) savemail.Store { return must(mysql.New(o)) },
			Reader: func(t *testing.T) savemail.Reader { return must(mysql.NewReader(o)) },
			SetDate: func(t *testing.T, hash string, date time.Time) {
				maria.Exec(t, fmt.Sprintf("UPDATE mail.new_mail SET `date`=FROM_UNIXTIME(%d) WHERE `hash`='%s'", date.Unix(), hash))
			},
		}
	}
	for _, tt := range []struct {
		name              string
		inner             func(*testing.T, bool) storetest.Harness
		compress, inPlace bool
	}{
		{"sqlite, copies", sqliteHarness, false, false},
		{"sqlite, in place, compressed", sqliteHarness, true, true},
		{"mysql, copies, compressed", mysqlHarness, true, false},
		{"mysql, in place", mysqlHarness, false, true},
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
				h := withRedis(tt.inner(t, tt.compress), o)
				if tt.inPlace {
					h.InRedis = get
					return h
				}
				rows := h.Rows
				h.Rows = func(t *testing.T) []storetest.Row {
					list := rows(t)
					for _, row := range list {
						if copied := get(t, row.Hash); string(copied) != string(row.Mail) {
							t.Errorf("Redis has a copy of %d bytes, the row has %d other bytes: %.200q", len(copied), len(row.Mail), copied)
						}
					}
					return list
				}
				return h
			})
		})
	}
}

// withRedis returns the harness with a Store around its store and a reader
// around its reader.
func withRedis(h storetest.Harness, o redis.Options) storetest.Harness {
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
