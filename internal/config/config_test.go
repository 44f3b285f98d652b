package config_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/stores"
)

func hasAny(s, chars string) bool { return strings.ContainsAny(s, chars) }

func TestDefaults(t *testing.T) {
	empties := []string{}
	for _, k := range stores.Keys() {
		empties = append(empties, `"`+k.Name+`": ""`)
	}
	for _, text := range []string{"{}", " {\r\n}\n", "{" + strings.Join(empties, ",\n") + "}"} {
		c := mustParse(t, newWorld(), text)
		want := config.Config{
			File: "f", PrimaryHost: "box.example.net", HostName: "box.example.net", Listen: []string{"0.0.0.0:25"},
			MaxSize: 131072, Timeout: 100 * time.Second, MaxClients: 500, Memory: 256 << 20,
			Table: "new_mail", AuthHTTP: config.AuthHTTP{Listen: "127.0.0.1:8025"},
		}
		if !sameExported(*c.Config, want) {
			t.Errorf("%s\n got %+v\nwant %+v", text, *c.Config, want)
		}
		if c.Hosts.Match("example.com") {
			t.Error("without GM_ALLOWED_HOSTS a domain receives")
		}
	}
}

// sameExported compares what users of the package see.
func sameExported(a, b config.Config) bool {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		if va.Type().Field(i).IsExported() && !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// A file as the program of 2012 had it, all its 20 keys.
func Test2012(t *testing.T) {
	w := newWorld()
	w.files["/etc/ssl/private/example.com.key"], w.files["/etc/ssl/certs/example.com.crt"] = pair(t, now().AddDate(0, 1, 0))
	const text = `{
    "GM_ALLOWED_HOSTS":"example.com,sample.com,foo.com,bar.com",
    "GM_MAIL_TABLE":"new_mail",
    "GM_PRIMARY_MAIL_HOST":"example.com",
    "GSMTP_HOST_NAME":"mail.example.com",
    "GSMTP_LOG_FILE":"/dev/stdout",
    "GSMTP_MAX_SIZE":"15728640",
    "GSMTP_PRV_KEY":"/etc/ssl/private/example.com.key",
    "GSMTP_PUB_KEY":"/etc/ssl/certs/example.com.crt",
    "GSMTP_TIMEOUT":"100",
    "GSMTP_VERBOSE":"N",
    "GSTMP_LISTEN_INTERFACE":"5.9.7.183:25",
    "MYSQL_DB":"gmail_mail",
    "MYSQL_HOST":"127.0.0.1:3306",
    "MYSQL_PASS":"$ecure1t",
    "MYSQL_USER":"gmail_mail",
    "GM_MAX_CLIENTS":"500",
    "NGINX_AUTH_ENABLED":"N",
    "NGINX_AUTH":"127.0.0.1:8025",
    "SGID":"508",
    "GUID":"504"
}`
	c := mustParse(t, w, text)
	if c.Certificate == nil || len(c.Warnings) != 0 || c.SaveMail != "mysql" {
		t.Errorf("certificate %v, store %s, warnings %q", c.Certificate, c.SaveMail, c.Warnings)
	}
	want := config.Config{
		File: "f", Hosts: c.Hosts, PrimaryHost: "example.com", HostName: "mail.example.com", Listen: []string{"5.9.7.183:25"},
		MaxSize: 15728640, Timeout: 100 * time.Second, MaxClients: 500, Memory: 256 << 20, LogFile: "/dev/stdout",
		KeyFile: "/etc/ssl/private/example.com.key", CertFile: "/etc/ssl/certs/example.com.crt", Certificate: c.Certificate,
		Group: config.ID{Name: "508", Num: 508}, User: config.ID{Name: "504", Num: 504},
		Table: "new_mail", AuthHTTP: config.AuthHTTP{Listen: "127.0.0.1:8025"},
	}
	if !sameExported(*c.Config, want) {
		t.Errorf(" got %+v\nwant %+v", *c.Config, want)
	}
	if !c.Hosts.Match("bar.com") || c.Hosts.Match("mail.example.com") {
		t.Error("the wrong hosts receive")
	}
	n := 0
	for _, k := range stores.Keys() {
		if !k.Since2012 {
			continue
		}
		n++
		if !strings.Contains(text, `"`+k.Name+`":`) {
			t.Errorf("%s is no key of 2012", k.Name)
		}
	}
	if n != 20 {
		t.Errorf("%d keys of 2012, want 20", n)
	}
}

func TestValues(t *testing.T) {
	w := newWorld()
	cases := []struct {
		text string
		got  func(c *stores.Configuration) any
		want any
	}{
		// The two names stand in for each other, in ASCII.
		{`{"GM_PRIMARY_MAIL_HOST": "Example.com."}`, func(c *stores.Configuration) any { return c.HostName + " " + c.PrimaryHost }, "Example.com Example.com"},
		{`{"GSMTP_HOST_NAME": "mx.bücher.example"}`, func(c *stores.Configuration) any { return c.HostName + " " + c.PrimaryHost }, "mx.xn--bcher-kva.example mx.xn--bcher-kva.example"},
		{`{"GSMTP_HOST_NAME": "mx", "GM_PRIMARY_MAIL_HOST": "[ipv6:2001:DB8::0:1]"}`, func(c *stores.Configuration) any { return c.HostName + " " + c.PrimaryHost }, "mx [IPv6:2001:db8::1]"},
		// Y and N in any case; words in any case.
		{`{"GSMTP_VERBOSE": "y"}`, func(c *stores.Configuration) any { return c.Verbose }, true},
		{`{"GM_MAIL_COMPRESS": "Y"}`, func(c *stores.Configuration) any { return c.Compress }, true},
		{`{"GM_SAVE_MAIL": "Discard"}`, func(c *stores.Configuration) any { return c.SaveMail }, "discard"},
		// Numbers at their bounds.
		{`{"GSMTP_MAX_SIZE": "1073741824"}`, func(c *stores.Configuration) any { return c.Memory }, int64(4 << 30)},
		{`{"GSMTP_MAX_SIZE": "1", "GSMTP_MEMORY": "4"}`, func(c *stores.Configuration) any { return c.Memory }, int64(4)},
		{`{"GSMTP_TIMEOUT": "86400"}`, func(c *stores.Configuration) any { return c.Timeout }, 24 * time.Hour},
		{`{"GM_MAX_CLIENTS_PER_IP": "010"}`, func(c *stores.Configuration) any { return c.MaxClientsPerIP }, 10},
		// The store.
		{`{"MYSQL_HOST": "a:3306", "GM_SAVE_MAIL": "sqlite"}`, func(c *stores.Configuration) any { return c.SaveMail }, "sqlite"},
		{`{"MYSQL_HOST": "a:3306", "GM_MAIL_TABLE": "mail.new$mail_2"}`, func(c *stores.Configuration) any { return c.Table }, "mail.new$mail_2"},
		{`{"MYSQL_DB": "d"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"MYSQL_DB is set without MYSQL_HOST: messages go to SQLite, not to MySQL"}},
		// Users and groups.
		{`{"GUID": "mail"}`, func(c *stores.Configuration) any { return []config.ID{c.User, c.Group} }, []config.ID{{Name: "mail", Num: 504}, {Name: "508", Num: 508}}},
		{`{"GUID": "504"}`, func(c *stores.Configuration) any { return []config.ID{c.User, c.Group} }, []config.ID{{Name: "504", Num: 504}, {Name: "508", Num: 508}}},
		{`{"GUID": "77", "SGID": "4294967294"}`, func(c *stores.Configuration) any { return []config.ID{c.User, c.Group} }, []config.ID{{Name: "77", Num: 77}, {Name: "4294967294", Num: 4294967294}}},
		// The webhook's key.
		// Redis.
		{`{"REDIS_MODE": "store"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"REDIS_MODE=store, REDIS_PASS or REDIS_STREAM is set without REDIS_HOST: Redis gets no messages"}},
		{`{"REDIS_HOST": "[::1]:6379", "GM_SAVE_MAIL": "discard"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"GM_SAVE_MAIL is discard: the Redis of REDIS_HOST gets no messages either"}},
		{`{"NGINX_AUTH_ENABLED": "y", "NGINX_AUTH": "[::1]:9000", "NGINX_AUTH_BACKENDS": "192.0.2.1:25, [2001:db8::1]:2525"}`,
			func(c *stores.Configuration) any { return c.AuthHTTP },
			config.AuthHTTP{Enabled: true, Listen: "[::1]:9000", Backends: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:25"), netip.MustParseAddrPort("[2001:db8::1]:2525")}}},
		{`{"GSMTP_PROXY_PROTOCOL": "Y", "GSMTP_TRUSTED_PROXIES": "unix"}`, func(c *stores.Configuration) any { return c.ProxyProtocol && len(c.Warnings) == 0 }, true},
		{`{"GSMTP_PROXY_PROTOCOL": "Y"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"GSMTP_PROXY_PROTOCOL is Y without GSMTP_TRUSTED_PROXIES: no client may send a PROXY header"}},
		{`{"GM_RECIPIENT_QUERY": "SELECT 1"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"GM_RECIPIENT_QUERY has neither :address nor :domain: the answer is the same for every recipient"}},
	}
	for _, c := range cases {
		if got := c.got(mustParse(t, w, c.text)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s\n got %#v\nwant %#v", c.text, got, c.want)
		}
	}
}

func TestMachineDecides(t *testing.T) {
	w := newWorld()
	w.memory = 100 << 20
	if got := mustParse(t, w, `{}`).Memory; got != 25<<20 {
		t.Errorf("memory is %d, want a quarter", got)
	}
	if got := mustParse(t, w, `{"GSMTP_MAX_SIZE": "10000000"}`).Memory; got != 40000000 {
		t.Errorf("memory is %d, want four messages", got)
	}
	w.fqdn = "not a name"
	if c := mustParse(t, w, `{}`); c.HostName != "localhost" || len(c.Warnings) != 1 {
		t.Errorf("host name is %s, warnings %q", c.HostName, c.Warnings)
	}
}

func TestCertificateDates(t *testing.T) {
	for until, want := range map[time.Time]string{
		now().AddDate(0, 0, -1): "the certificate in GSMTP_PUB_KEY expired on 2026-05-31",
		now().AddDate(2, 0, 0):  "the certificate in GSMTP_PUB_KEY is not valid before 2027-06-01",
	} {
		w := newWorld()
		w.files["/k"], w.files["/c"] = pair(t, until)
		c := mustParse(t, w, `{"GSMTP_PRV_KEY": "/k", "GSMTP_PUB_KEY": "/c"}`)
		if !reflect.DeepEqual(c.Warnings, []string{want}) {
			t.Errorf("got %q, want %q", c.Warnings, want)
		}
	}
}

func TestNeedsRestart(t *testing.T) {
	w := newWorld()
	a := mustParse(t, w, `{"GUID": "mail", "GSMTP_TIMEOUT": "1"}`)
	b := mustParse(t, w, `{"GUID": "77", "SGID": "77", "GSMTP_TIMEOUT": "2"}`)
	if got := a.NeedsRestart(a.Config); len(got) != 0 {
		t.Errorf("nothing changed, yet %q", got)
	}
	if got := a.NeedsRestart(b.Config); !reflect.DeepEqual(got, []string{"SGID", "GUID"}) {
		t.Errorf("got %q", got)
	}
}

func TestError(t *testing.T) {
	_, err := stores.Parse("x/g.conf", []byte("{\n  \"GSMTP_TIMEOUT\": \"abc\"\n}"), newWorld().env())
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T", err)
	}
	want := config.Error{File: "x/g.conf", Line: 2, Column: 20, Key: "GSMTP_TIMEOUT", Value: "abc",
		Problem: "is not a whole number", Want: "want whole seconds from 1 to 86400, digits only"}
	if *e != want {
		t.Errorf("got %+v, want %+v", *e, want)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.conf", `{"GSMTP_HOST_NAME": "mx.example.com", "GUID": "daemon"}`)
	c, err := stores.Load(good)
	if err != nil || c.File != good || c.User.Num == 0 || c.Group.Num == 0 || c.Memory < 4*c.MaxSize {
		t.Errorf("got %+v, %v", c, err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.conf"): ": there is no such file: name it by -config, or copy goguerrilla.conf.sample to it",
		dir:                             ": cannot be read: is a directory: want a readable file",
		file("huge.conf", strings.Repeat(" ", 1<<20+1)):  ": is larger than 1 MiB: want a configuration",
		file("bad.conf", `{"GSMTP_HOST_NAME": "a b.c"}`): `:1:21: GSMTP_HOST_NAME: "a b.c" is not a domain, it has a character that is not allowed in a domain: want one domain, such as mail.example.com`,
		file("user.conf", `{"GUID": "no-such-user"}`):    `:1:10: GUID: "no-such-user" is not a user of this machine: want the name or number of a user`,
	} {
		if _, err := stores.Load(path); err == nil || err.Error() != path+want {
			t.Errorf(" got %v\nwant %s%s", err, path, want)
		}
	}
}

// TestOpenPassword: a password that everybody can read is warned of, and not
// shown.
func TestOpenPassword(t *testing.T) {
	for _, tt := range []struct {
		mode os.FileMode
		text string
		want int
	}{
		{0o644, `{"REDIS_PASS": "geheim", "REDIS_HOST": "127.0.0.1:6379"}`, 1},
		{0o640, `{"REDIS_PASS": "geheim", "REDIS_HOST": "127.0.0.1:6379"}`, 0},
		{0o644, `{"GSMTP_TIMEOUT": "5"}`, 0},
	} {
		file := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, tt.mode); err != nil {
			t.Fatal(err)
		}
		cfg, err := stores.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		warnings := 0
		for _, w := range cfg.Warnings {
			if strings.Contains(w, "REDIS_PASS is in a file that every user of this machine can read") && !strings.Contains(w, "geheim") {
				warnings++
			}
		}
		if warnings != tt.want {
			t.Errorf("%o %s: %q", tt.mode, tt.text, cfg.Warnings)
		}
	}
}
