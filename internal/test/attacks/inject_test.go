package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	redigo "github.com/gomodule/redigo/redis"
	"golang.org/x/sys/unix"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// injections are texts that can forge lines of a log or control a terminal: line ends,
// control sequences, bidirectional controls, and ends of strings.
var injections = []string{
	"\r\nlevel=ERROR msg=forged", "\nforged=1", "\rforged", "\x1b[2J\x1b]0;title\x07", "\x9b31m", "\u202eforged\u202c", "\u2066\u2069",
	"\x00", "\x7f\x08\x08", "\u0085forged", "\u2028forged\u2029", "\ufeff", "\xff\xfe", `" forged="1`, `\" forged=\"`, "%s%n%x", "${jndi:x}",
}

// TestLogInjection sends injections in every field that a client controls, and logs the whole
// dialogue. The daemon must have written each line of the log, with printable characters only.
func TestLogInjection(t *testing.T) {
	d := shared.Daemon(t, map[string]string{"GSMTP_VERBOSE": "Y", "GM_ALLOWED_HOSTS": ".", "GSMTP_TRUSTED_PROXIES": "127.0.0.0/8"})
	log := filepath.Join(d.Dir, "mail.log")
	d.Configure(t, map[string]string{"GSMTP_LOG_FILE": log})
	d.Start(t)
	for _, x := range injections {
		for _, dialogue := range []string{
			x + "\r\n",
			"EHLO a" + x + "\r\n",
			"HELO a" + x + "\r\n",
			"XCLIENT NAME=a" + x + " ADDR=192.0.2.1 HELO=b" + x + "\r\n",
			"EHLO a\r\nMAIL FROM:<a" + x + "@example.org>\r\n",
			"EHLO a\r\nMAIL FROM:<\"" + x + "\"@example.org> SMTPUTF8\r\n",
			"EHLO a\r\nMAIL FROM:<a@example.org> " + x + "=1\r\n",
			"EHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b" + x + "@example.com>\r\n",
			"EHLO a\r\nMAIL FROM:<a@example.org> SMTPUTF8\r\nRCPT TO:<\"b" + x + "\"@example.com>\r\n",
			"EHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: " + x + "\r\n" + x + ": y\r\n\r\n" + x + "\r\n.\r\n",
			"VRFY " + x + "\r\nNOOP " + x + "\r\nHELP " + x + "\r\nBDAT " + x + "\r\n",
			"PROXY TCP4 " + x + "\r\n",
			"GET /" + x + " HTTP/1.1\r\n",
		} {
			c, err := client.Connect(d.Addr, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			c.Conn.Write([]byte(dialogue + "QUIT\r\n"))
			readToEnd(t, c.Conn, 20*time.Second)
			c.Close()
		}
	}
	if code := d.Terminate(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		lines++
		if !strings.HasPrefix(line, "time=20") {
			t.Fatalf("log line without a time: %q", line)
		}
		if strings.Contains(line, " forged=1") || strings.Contains(line, " msg=forged") {
			t.Errorf("log line with a forged attribute: %q", line)
		}
		for _, r := range line {
			if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
				t.Fatalf("%U in the log: %q", r, line)
			}
		}
	}
	if lines < 500 {
		t.Errorf("%d lines in the log, want at least 500", lines)
	}
}

// TestSQLInjection sends SQL in every field. The store must store it unchanged.
func TestSQLInjection(t *testing.T) {
	for _, store := range []string{"sqlite", "mysql"} {
		t.Run(store, func(t *testing.T) {
			a := &target{Daemon: shared.Daemon(t, map[string]string{"GM_ALLOWED_HOSTS": "."})}
			rows := func(to string) []map[string]string { return a.rows(t, "to", to) }
			if store == "mysql" {
				m := shared.MariaDB()
				m.CreateTable(t, "new_mail")
				t.Cleanup(func() { m.Exec(t, "DROP TABLE "+m.DB+".new_mail") })
				a.Configure(t, m.Keys())
				rows = func(to string) []map[string]string { return query(t, m.Connect(t), "to", to) }
			}
			a.Start(t)
			for i, sql := range []string{
				`'); DROP TABLE new_mail; --`, `" OR "1"="1`, `\'; DELETE FROM new_mail; #`, "`; DROP TABLE new_mail; --", `x' UNION SELECT 1 --`, `?`, `$1`, `:from`, `%27%20--`, `/*!50000 DROP TABLE new_mail */`,
			} {
				quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(sql)
				c, err := client.Connect(a.Addr, 10*time.Second)
				if err == nil {
					err = c.Hello()
				}
				if err != nil {
					t.Fatal(err)
				}
				from, to := `"`+quoted+`"@example.org`, fmt.Sprintf(`"%d%s"@example.com`, i, quoted)
				text := "Subject: " + sql + "\r\nContent-Type: text/plain; charset=\"" + quoted + "\"\r\n" +
					"Content-Disposition: attachment; filename=\"" + quoted + "\"\r\n\r\n" + sql + "\r\n"
				r, err := c.Send(from, "", []string{to}, []byte(text))
				if err != nil || r.Code != 250 {
					t.Fatalf("%s: reply %v, %v", sql, r, err)
				}
				c.Close()
				got := rows(to)
				if len(got) != 1 {
					t.Fatalf("%s: %d rows, want 1", sql, len(got))
				}
				row := got[0]
				if row["from"] != from {
					t.Errorf("from is %q, want %q", row["from"], from)
				}
				if row["subject"] != sql {
					t.Errorf("subject is %q, want %q", row["subject"], sql)
				}
				if !strings.HasSuffix(row["mail"], text) {
					t.Errorf("mail is %q, want it to end with %q", row["mail"], text)
				}
			}
		})
	}
}

// TestRedisInjection sends commands of Redis's protocol in every field. Redis must not execute
// them.
func TestRedisInjection(t *testing.T) {
	redis := servers.Redis(t)
	d := shared.Daemon(t, map[string]string{"GM_ALLOWED_HOSTS": ".", "REDIS_HOST": redis.Addr})
	db := redis.Connect(t)
	if _, err := db.Do("SET", "precious", "value"); err != nil {
		t.Fatal(err)
	}
	d.Start(t)
	c, err := client.Connect(d.Addr, 10*time.Second)
	if err == nil {
		err = c.Hello()
	}
	if err != nil {
		t.Fatal(err)
	}
	flush := "\r\n*1\r\n$8\r\nFLUSHALL\r\nFLUSHALL\r\n"
	text := "Subject: x" + flush + "\r\n" + flush
	r, err := c.Send("flushall@example.org", "", []string{`"*1 $8 FLUSHALL"@example.com`}, []byte(text))
	if err != nil || r.Code != 250 {
		t.Fatalf("reply %v, %v", r, err)
	}
	if v, err := redigo.String(db.Do("GET", "precious")); err != nil || v != "value" {
		t.Errorf("precious is %q, %v, want value", v, err)
	}
	if v, err := redigo.String(db.Do("GET", r.Hash())); err != nil || !strings.HasSuffix(v, text) {
		t.Errorf("the copy of the message is %q, %v", v, err)
	}
}

// TestUnsafeFiles starts the daemon as root with a log file or an SQLite file that is not a
// regular file of its user. The daemon ends or replies 451, and does not change the files of
// root.
func TestUnsafeFiles(t *testing.T) {
	test.NeedRoot(t)
	for _, key := range []string{"GSMTP_LOG_FILE", "SQLITE_FILE"} {
		for _, kind := range []string{"symbolic link to a file of root", "FIFO", "directory", "device", "dangling symbolic link"} {
			if key == "GSMTP_LOG_FILE" && kind == "device" {
				continue // a device is a valid log, such as /dev/null
			}
			t.Run(key+" "+kind, func(t *testing.T) {
				d := shared.Daemon(t, nil)
				path := filepath.Join(d.Dir, "unsafe")
				rootFile := filepath.Join(test.PublicDir(t), "roots")
				err := os.WriteFile(rootFile, []byte("precious"), 0o600)
				switch kind {
				case "symbolic link to a file of root":
					err = os.Symlink(rootFile, path)
				case "FIFO":
					err = unix.Mkfifo(path, 0o666)
				case "directory":
					err = os.Mkdir(path, 0o777)
				case "device":
					path = "/dev/full"
				case "dangling symbolic link":
					err = os.Symlink(filepath.Join(filepath.Dir(rootFile), "nothing"), path)
				}
				if err != nil {
					t.Fatal(err)
				}
				d.Configure(t, map[string]string{key: path})
				p := test.Start(t, d.Cmd())
				test.Await(t, nil, 20*time.Second, "waiting for the end of the daemon or a reply 451", func() error {
					select {
					case <-p.Done():
						return nil
					default:
					}
					if key == "SQLITE_FILE" { // the daemon continues with an unavailable store
						return refusesMessage(d)
					}
					return fmt.Errorf("the daemon runs\n%s", p.Output())
				})
				if code := p.Cmd.ProcessState; code != nil && code.ExitCode() != 1 && code.ExitCode() != 78 {
					t.Errorf("%v, want exit status 1 or 78\n%s", code, p.Output())
				}
				if text, err := os.ReadFile(rootFile); err != nil || string(text) != "precious" {
					t.Errorf("the file of root contains %q, %v, want precious", text, err)
				}
				if info, err := os.Stat(rootFile); err != nil {
					t.Error(err)
				} else if uid := info.Sys().(*syscall.Stat_t).Uid; info.Mode().Perm() != 0o600 || uid != 0 {
					t.Errorf("the file of root has mode %v and uid %d, want 0600 and 0", info.Mode().Perm(), uid)
				}
			})
		}
	}
}

// refusesMessage returns nil if the daemon replies 451 to a message.
func refusesMessage(d *daemon.Daemon) error {
	c, err := client.Connect(d.Addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		return err
	}
	r, err := c.Send("a@example.org", "", []string{"b@example.com"}, []byte("Subject: x\r\n\r\n"))
	if err == nil && r.Code != 451 {
		err = fmt.Errorf("reply %v, want 451", r)
	}
	return err
}
