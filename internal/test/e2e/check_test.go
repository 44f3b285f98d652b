package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// check runs -t and returns its exit status and output.
func check(t *testing.T, d *daemon.Daemon, changes map[string]string) (status int, output string) {
	t.Helper()
	d.Configure(t, changes)
	cmd := d.Cmd("-t")
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

const good = "configuration is good\n"

// wantCheck checks the exit status and the parts of the output.
func wantCheck(t *testing.T, d *daemon.Daemon, changes map[string]string, status int, parts ...string) {
	t.Helper()
	got, out := check(t, d, changes)
	if got != status {
		t.Errorf("%v: exit status %d, want %d\n%s", changes, got, status, out)
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("%v: the output lacks %q\n%s", changes, part, out)
		}
	}
	if isGood := strings.Contains(out, good); isGood != (len(parts) > 0 && parts[0] == good) {
		t.Errorf("%v: good is %v\n%s", changes, isGood, out)
	}
	if strings.Contains(out, "wr0ng") {
		t.Errorf("the output has the password\n%s", out)
	}
}

// sensible are keys without which -t warns.
var sensible = map[string]string{"GM_ALLOWED_HOSTS": "example.com", "GSMTP_HOST_NAME": "mx.example.com", "GM_MAX_CLIENTS_PER_IP": "50"}

// TestCheckMySQL: -t logs in to MariaDB, and finds a wrong user, database, table, column and
// right, a narrow table and a small packet.
func TestCheckMySQL(t *testing.T) {
	d := newDaemon(t, sensible)
	m := servers.MariaDB(t)
	m.CreateTable(t, "new_mail")
	d.Configure(t, m.Keys())
	d.Configure(t, map[string]string{"SQLITE_FILE": ""})
	if err := os.Chmod(d.ConfigFile(), 0o640); err != nil {
		t.Fatal(err)
	}
	wantCheck(t, d, nil, 0, "max_allowed_packet of the MySQL server is below GSMTP_MAX_SIZE: ", "max_allowed_packet 16777216", "configuration is valid: 1 warning\n")
	m.Exec(t, "SET GLOBAL max_allowed_packet=67108864")
	wantCheck(t, d, nil, 0, good)
	wantCheck(t, d, map[string]string{"MYSQL_PASS": "wr0ng"}, 78, m.Addr+` as user "`+m.User+`": connect: Error 1045`, "Access denied")
	wantCheck(t, d, map[string]string{"MYSQL_PASS": m.Pass, "MYSQL_DB": "other"}, 78, "Error 1044")
	wantCheck(t, d, map[string]string{"MYSQL_DB": m.DB, "GM_MAIL_TABLE": "other"}, 78, "the table does not exist, or the user has no rights on it")
	m.CreateTable2012(t, "narrow")
	wantCheck(t, d, map[string]string{"GM_MAIL_TABLE": "narrow"}, 0, "MySQL table is too narrow for some values: ", "ip_addr cuts IPv6 addresses",
		"from cuts senders after 128 characters", "recipient refuses recipients of more than 128 characters", "subject replaces characters outside utf8")
	m.Exec(t, "ALTER TABLE "+m.DB+".narrow DROP COLUMN hash")
	wantCheck(t, d, nil, 78, "the table lacks the columns hash")
	m.CreateTable(t, "mandatory")
	m.Exec(t, "ALTER TABLE "+m.DB+".mandatory ADD COLUMN tenant int NOT NULL")
	wantCheck(t, d, map[string]string{"GM_MAIL_TABLE": "mandatory"}, 78, "needs a value or a default for the columns tenant")
	m.Exec(t, "REVOKE INSERT ON "+m.DB+".new_mail FROM `"+m.User+"`@`%`")
	wantCheck(t, d, map[string]string{"GM_MAIL_TABLE": "new_mail"}, 78, "INSERT command denied")
	m.Exec(t, "GRANT INSERT ON "+m.DB+".new_mail TO `"+m.User+"`@`%`")
	wantCheck(t, d, map[string]string{"GM_RECIPIENT_QUERY": "SELECT 1 FROM narrow WHERE `to` = :address"}, 0, good)
	m.Exec(t, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM `"+m.User+"`@`%`")
	wantCheck(t, d, map[string]string{"GM_SAVE_MAIL": "discard"}, 78, "GM_RECIPIENT_QUERY: the database refuses the query: ", "denied")
	m.CreateTable(t, "new_mail")
	d.Configure(t, map[string]string{"GM_SAVE_MAIL": "mysql", "GM_RECIPIENT_QUERY": ""})
	nobody := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	wantCheck(t, d, map[string]string{"MYSQL_HOST": nobody + "," + m.Addr}, 0, "MySQL server unhealthy, using the others: host "+nobody, "valid: 1 warning")
	wantCheck(t, d, map[string]string{"MYSQL_HOST": nobody}, 0, "the store was not checked: "+nobody, "valid: the store not checked")
	m.QueryRow(t, "SELECT COUNT(*) FROM "+m.DB+".new_mail", new(int))
}

// TestCheckFiles: -t of root checks files as the user of GUID, and leaves nothing behind.
func TestCheckFiles(t *testing.T) {
	test.NeedRoot(t)
	d := newDaemon(t, sensible)
	if err := os.Chmod(d.ConfigFile(), 0o640); err != nil {
		t.Fatal(err)
	}
	dir := test.PublicDir(t)
	file := filepath.Join(dir, "mail.db")
	wantCheck(t, d, map[string]string{"SQLITE_FILE": file}, 78, "SQLITE_FILE: create files in "+dir+": permission denied")
	d.Chown(t, dir)
	wantCheck(t, d, nil, 0, good)
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("-t left %v, %v", list, err)
	}
	if err := os.WriteFile(file, []byte("no database, but more than one hundred bytes of text, which is the size of the header of a file of SQLite"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantCheck(t, d, nil, 78, "SQLITE_FILE: open "+file+": permission denied")
	d.Chown(t, file)
	wantCheck(t, d, nil, 78, "SQLITE_FILE: "+file, "not a database")
	wantCheck(t, d, map[string]string{"GM_SAVE_MAIL": "maildir", "GM_MAILDIR": filepath.Join(dir, "Maildir"), "SQLITE_FILE": ""}, 0, good)
	wantCheck(t, d, map[string]string{"GM_MAILDIR": "/Maildir"}, 78, "GM_MAILDIR: create files in /: permission denied")
	wantCheck(t, d, map[string]string{"GM_MAILDIR": filepath.Join(dir, "Maildir"), "GSMTP_LOG_FILE": filepath.Join(dir, "log")}, 0, good)
	wantCheck(t, d, map[string]string{"GSMTP_LOG_FILE": filepath.Join(dir, "missing", "log")}, 78, "GSMTP_LOG_FILE: ", "no such file or directory")
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("-t left %v, %v", list, err)
	}
}

// TestCheckKey: the error about a key that cannot be read names the user and the directory
// that refuses, as in the directories of ACME clients, with links.
func TestCheckKey(t *testing.T) {
	test.NeedRoot(t)
	d := newDaemon(t, sensible)
	dir := test.PublicDir(t)
	archive, live := filepath.Join(dir, "archive"), filepath.Join(dir, "live")
	for _, path := range []string{archive, live} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cert := test.NewCertificate(t, archive, "mx.example.com")
	key, chain := filepath.Join(live, "key.pem"), filepath.Join(live, "chain.pem")
	if err := errors.Join(os.Symlink(cert.KeyFile, key), os.Symlink(cert.CertFile, chain), os.Chmod(cert.CertFile, 0o644), os.Chmod(cert.KeyFile, 0o600)); err != nil {
		t.Fatal(err)
	}
	d.Chown(t, d.ConfigFile())
	d.Configure(t, map[string]string{"GSMTP_PRV_KEY": key, "GSMTP_PUB_KEY": chain, "SGID": "", "GUID": ""})
	for _, step := range []struct {
		path string
		mode os.FileMode
		want string
	}{
		{archive, 0o755, cert.KeyFile + " (-rw-------, owner root)"},
		{archive, 0o700, archive + " (drwx------, owner root)"},
		{live, 0o700, live + " (drwx------, owner root)"},
	} {
		if err := os.Chmod(step.path, step.mode); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups"}, d.Cmd("-t").Args...)...)
		out, _ := cmd.CombinedOutput()
		want := `GSMTP_PRV_KEY: "` + key + `" cannot be read by the user nobody: permission denied at ` + step.want + ": want "
		if cmd.ProcessState.ExitCode() != 78 || !strings.Contains(string(out), want) {
			t.Errorf("%v, %s\nwant %s", cmd.ProcessState, out, want)
		}
	}
}

// TestCheckWarnings: what is allowed but probably a mistake is a warning of -t and of a start.
func TestCheckWarnings(t *testing.T) {
	d := newDaemon(t, sensible)
	for _, tt := range []struct {
		changes map[string]string
		want    string
	}{
		{map[string]string{"GM_ALLOWED_HOSTS": ""}, "GM_ALLOWED_HOSTS is empty: every recipient is refused"},
		{map[string]string{"NGINX_AUTH": "127.0.0.1:8026"}, "NGINX_AUTH has no effect: NGINX_AUTH_ENABLED is not Y"},
		{map[string]string{"GSTMP_LISTEN_INTERFACE": "0.0.0.0:2525", "GM_MAX_CLIENTS_PER_IP": "0"}, "GM_MAX_CLIENTS_PER_IP is 0: one client can use all GM_MAX_CLIENTS sessions"},
	} {
		d := newDaemon(t, sensible)
		if err := os.Chmod(d.ConfigFile(), 0o640); err != nil {
			t.Fatal(err)
		}
		wantCheck(t, d, tt.changes, 0, "goguerrillad: warning: "+tt.want+"\n", "configuration is valid: 1 warning\n")
		if tt.changes["GSTMP_LISTEN_INTERFACE"] == "" {
			d.Start(t)
			d.AwaitLog(t, `level=WARN msg="`+tt.want, 1)
		}
	}
	if err := os.Chmod(d.ConfigFile(), 0o640); err != nil {
		t.Fatal(err)
	}
	wantCheck(t, d, nil, 0, good)
}
