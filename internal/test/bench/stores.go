package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

func startDiscard(ctx context.Context, h *harness) *server {
	s, _ := startDaemon(ctx, h, map[string]string{"GM_SAVE_MAIL": "discard"})
	return s
}

func startSQLite(ctx context.Context, h *harness) *server {
	s, d := startDaemon(ctx, h, map[string]string{"GM_SAVE_MAIL": "sqlite"})
	source := url.URL{Scheme: "file", Path: d.Keys["SQLITE_FILE"], RawQuery: "mode=rw&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)"}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		h.Fatalf("open the store: %v", err)
	}
	h.Cleanup(func() { db.Close() })
	s.rows = countRows(db)
	probeRows(s, db, dialect{`"`,
		"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<?) SELECT n FROM c", "printf('%%04x',(n+%d)/64*40503%%65536)||lower(hex(randomblob(14)))", 0, questionMark})
	probeExpiry(s, h, db, d, `DROP INDEX IF EXISTS "new_mail.hash"`, `CREATE INDEX "new_mail.hash" ON new_mail (hash)`)
	s.version += ", SQLite " + queryValue(ctx, db, "SELECT sqlite_version()")
	s.settings = []setting{{"SQLite", fmt.Sprintf(
		"journal_mode=%s page_size=%s; goguerrillad's default for syncing, no key changes it",
		queryValue(ctx, db, "PRAGMA journal_mode"), queryValue(ctx, db, "PRAGMA page_size"))}}
	return s
}

// startMySQL starts a MariaDB with its default settings, and a goguerrillad that uses its
// unix socket.
func startMySQL(ctx context.Context, h *harness) *server {
	m := servers.MariaDB(h, "--innodb-buffer-pool-size=128M") // the default; tests use less
	s, d, db := startOn(ctx, h, m, m.Socket)
	probeRows(s, db, dialect{"`", "SELECT seq AS n FROM seq_1_to_100000 WHERE seq<=?",
		"concat(lpad(lower(hex((n+%d) DIV 64*40503%%65536)),4,'0'),substr(md5(concat(n,uuid())),5))", 0, questionMark})
	m.GrantDelete(h, "new_mail")
	probeExpiry(s, h, db, d, "ALTER TABLE new_mail DROP KEY hash", "ALTER TABLE new_mail ADD KEY hash (hash)")
	s.version += ", MariaDB " + queryValue(ctx, db, "SELECT VERSION()")
	s.settings = []setting{{"MariaDB", variables(ctx, db,
		"innodb_flush_log_at_trx_commit", "innodb_doublewrite", "innodb_flush_method", "innodb_buffer_pool_size",
		"innodb_log_file_size", "log_bin", "sync_binlog") + ", by unix socket"}}
	return s
}

// startPostgres starts a PostgreSQL with its default settings, and a goguerrillad that uses
// its unix socket.
func startPostgres(ctx context.Context, h *harness) *server {
	p := servers.Postgres(h)
	db := p.Connect(h)
	p.CreateTable(h, "new_mail")
	s, d := startDaemon(ctx, h, map[string]string{
		"GM_SAVE_MAIL": "postgres",
		"POSTGRES_DSN": fmt.Sprintf("host=%s port=%s user=%s password='%s' dbname=%s", p.Socket, p.Port(), p.User, p.Pass, p.DB),
	})
	s.parent = p.Pid()
	s.rows = countRows(db)
	ownOutput := s.output
	s.output = func() string { return ownOutput() + p.Output() }
	probeRows(s, db, dialect{`"`, "SELECT n FROM generate_series(1,$1::int) AS n",
		"lpad(to_hex((n+%d::bigint)/64*40503%%65536),4,'0')||substr(md5(concat(n,gen_random_uuid())),5)", false, numbered})
	p.GrantDelete(h, "new_mail")
	probeExpiry(s, h, db, d, "DROP INDEX IF EXISTS new_mail_hash", "CREATE INDEX new_mail_hash ON new_mail (hash)")
	s.version += ", PostgreSQL " + queryValue(ctx, db, "SHOW server_version")
	var settings []string
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "wal_sync_method"} {
		settings = append(settings, name+"="+queryValue(ctx, db, "SHOW "+name))
	}
	s.settings = []setting{{"PostgreSQL", strings.Join(settings, " ") + ", by unix socket"}}
	return s
}

// startTiDB starts a TiDB that make test-tidb has built, and a goguerrillad that uses its
// TCP port.
func startTiDB(ctx context.Context, h *harness) *server {
	if _, err := test.LookPath("tidb-server"); err != nil {
		h.Skipf("not built: make test-tidb builds it")
	}
	m := servers.TiDB(h)
	s, _, db := startOn(ctx, h, m, m.Addr)
	s.version += ", " + queryValue(ctx, db, "SELECT VERSION()")
	s.settings = []setting{{"TiDB", "one process with its built-in store, by TCP"}}
	return s
}

// startOn starts a goguerrillad that stores in a MySQL server; host is the value of
// MYSQL_HOST.
func startOn(ctx context.Context, h *harness, m *servers.MariaDBServer, host string) (*server, *daemon.Daemon, *sql.DB) {
	// The daemon runs as another user, which needs access to the socket.
	if err := os.Chmod(filepath.Dir(m.Socket), 0o755); err != nil {
		h.Fatalf("change the mode of the socket's directory: %v", err)
	}
	db := m.Connect(h)
	m.CreateTable(h, "new_mail")
	s, d := startDaemon(ctx, h, map[string]string{
		"GM_SAVE_MAIL": "mysql",
		"MYSQL_HOST":   host,
		"MYSQL_USER":   m.User,
		"MYSQL_PASS":   m.Pass,
		"MYSQL_DB":     m.DB,
	})
	s.pids = append(s.pids, m.Pid())
	s.rows = countRows(db)
	ownOutput := s.output
	s.output = func() string { return ownOutput() + m.Output() }
	return s, d, db
}

func startMaildir(ctx context.Context, h *harness) *server {
	s, d := startDaemon(ctx, h, map[string]string{"GM_SAVE_MAIL": "maildir"})
	s.rows = func(context.Context) (int, error) {
		names, err := os.ReadDir(filepath.Join(d.Keys["GM_MAILDIR"], "new"))
		if errors.Is(err, fs.ErrNotExist) { // no message yet
			err = nil
		}
		return len(names), err
	}
	return s
}

// startWebhook starts a receiver, and a goguerrillad that posts messages to it. The CPU time
// of the receiver counts, as that of a database does.
func startWebhook(ctx context.Context, h *harness) *server {
	receiver := startSink(h, webhookSink)
	url := "http://" + receiver.addr + "/"
	s, _ := startDaemon(ctx, h, map[string]string{"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": url, "WEBHOOK_SECRET": "secret"})
	s.pids = append(s.pids, receiver.pids...)
	s.rows = func(ctx context.Context) (int, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, fmt.Errorf("query the receiver: %w", err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return 0, fmt.Errorf("query the receiver: %w", err)
		}
		return strconv.Atoi(string(text))
	}
	s.settings = []setting{{"webhook", "HTTP/1.1 on the same machine, signed"}}
	return s
}

// variables returns the values of global variables of the database.
func variables(ctx context.Context, db *sql.DB, names ...string) string {
	for i, name := range names {
		names[i] = name + "=" + queryValue(ctx, db, "SELECT @@GLOBAL."+name)
	}
	return strings.Join(names, " ")
}

// countRows returns a function that counts the rows of the table. If the table does not
// exist the count is 0, since the SQLite store may create it after its start.
func countRows(db *sql.DB) func(context.Context) (int, error) {
	return func(ctx context.Context) (n int, err error) {
		err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM new_mail").Scan(&n)
		switch {
		case err == nil:
			return n, nil
		case strings.Contains(err.Error(), "no such table"):
			return 0, nil
		}
		return 0, fmt.Errorf("count rows: %w", err)
	}
}

// queryValue returns the result of a query for one value.
func queryValue(ctx context.Context, db *sql.DB, query string) string {
	var value string
	if err := db.QueryRowContext(ctx, query).Scan(&value); err != nil {
		return "unknown: " + err.Error()
	}
	return value
}
