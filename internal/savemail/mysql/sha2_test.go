package mysql_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// testCachingSHA2Password logs in to MySQL with each mode of MYSQL_TLS. After FLUSH
// PRIVILEGES the server has no hash of the password, and the client must send the
// password: inside TLS, or encrypted with the server's public key.
func testCachingSHA2Password(t *testing.T, cert, key string) {
	const tls, clear, none = "SSL/TLS", "TCP/IP", ""
	for _, tt := range []struct {
		name        string
		options     []string
		connections map[string]string // mode: kind of the connection, "" = no login
	}{
		{"TLS", []string{"--ssl-cert=" + cert, "--ssl-key=" + key}, map[string]string{"N": clear, "preferred": tls, "skip-verify": tls, "Y": tls}},
		{"no TLS", []string{"--auto-generate-certs=OFF"}, map[string]string{"N": clear, "preferred": clear, "skip-verify": none, "Y": none}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := servers.MariaDB(t, tt.options...)
			b := &testbed{parent: t, server: server, log: &test.Log{}, table: "new_mail"}
			b.create(t)
			if len(tt.options) == 1 {
				b.removeCertificates(t)
			}
			for mode, want := range tt.connections {
				for _, login := range []string{"password", "cached hash"} {
					if login == "password" {
						server.Exec(t, "FLUSH PRIVILEGES")
					}
					if got := b.logIn(t, mode); got != want {
						t.Errorf("MYSQL_TLS=%s, %s: connection %q, want %q\n%s", mode, login, got, want, b.log)
					}
				}
			}
		})
	}
}

// removeCertificates removes the certificates that the server made when it was
// initialized.
func (b *testbed) removeCertificates(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.server.DataDir(), "*-*.pem"))
	if err != nil || len(files) == 0 {
		t.Fatalf("certificates %v, %v", files, err)
	}
	if err := b.server.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	b.server.Start(t)
	test.Await(t, nil, 10*time.Second, "the server does not reply", b.server.Connect(t).Ping)
}

// logIn stores a message by TCP and returns the kind of the connection, "" if the store
// cannot log in.
func (b *testbed) logIn(t *testing.T, mode string) (kind string) {
	t.Helper()
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.TLS = []string{b.server.Addr}, mode })
	defer s.Close()
	if err := save(t, s, "b@example.com")[0]; err != nil {
		t.Logf("MYSQL_TLS=%s: %v", mode, err)
		if strings.Contains(fmt.Sprint(err), b.server.Pass) {
			t.Errorf("the error has the password")
		}
		return ""
	}
	b.server.QueryRow(t, "SELECT CONNECTION_TYPE FROM performance_schema.threads WHERE PROCESSLIST_USER='"+b.server.User+
		"' ORDER BY THREAD_ID DESC LIMIT 1", &kind)
	return kind
}
