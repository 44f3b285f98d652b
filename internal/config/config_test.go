package config_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/stores"
)

// TestDefaults: a configuration without values has all defaults.
func TestDefaults(t *testing.T) {
	empties := []string{}
	for _, k := range stores.Keys() {
		empties = append(empties, `"`+k.Name+`": ""`)
	}
	for _, text := range []string{"{}", " {\r\n}\n", "{" + strings.Join(empties, ",\n") + "}"} {
		c := mustParse(t, newMachine(), text)
		want := config.Config{
			File: "f", PrimaryHost: "box.example.net", HostName: "box.example.net", Listen: []string{"0.0.0.0:25"},
			MaxSize: 26214400, Timeout: 100 * time.Second, MaxClients: 500, Memory: 256 << 20,
			Table: "new_mail", AuthHTTP: config.AuthHTTP{Listen: "127.0.0.1:8025"},
		}
		compare(t, text, *c.Config, want)
		if c.Hosts.Match("example.com") {
			t.Error("Hosts matches example.com without GM_ALLOWED_HOSTS")
		}
	}
}

// compare reports the exported fields that differ between two structs of one type.
func compare(t *testing.T, what string, got, want any) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		field := g.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		if got, want := g.Field(i).Interface(), w.Field(i).Interface(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n%s is %#v, want %#v", what, field.Name, got, want)
		}
	}
}

// Test2012: a configuration with all 20 keys of the 2012 program is valid.
func Test2012(t *testing.T) {
	m := newMachine()
	m.files["/etc/ssl/private/example.com.key"], m.files["/etc/ssl/certs/example.com.crt"] = pair(t, now().AddDate(0, 1, 0))
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
	c := mustParse(t, m, text)
	if len(c.Certificates) != 1 {
		t.Error("Certificate is nil")
	}
	if c.SaveMail != "mysql" {
		t.Errorf("SaveMail is %s, want mysql", c.SaveMail)
	}
	want := config.Config{
		File: "f", Hosts: c.Hosts, PrimaryHost: "example.com", HostName: "mail.example.com", Listen: []string{"5.9.7.183:25"},
		MaxSize: 15728640, Timeout: 100 * time.Second, MaxClients: 500, Memory: 256 << 20, LogFile: "/dev/stdout",
		KeyFiles: []string{"/etc/ssl/private/example.com.key"}, CertFiles: []string{"/etc/ssl/certs/example.com.crt"}, Certificates: c.Certificates,
		Group: config.ID{Name: "508", Num: 508}, User: config.ID{Name: "504", Num: 504},
		Table: "new_mail", AuthHTTP: config.AuthHTTP{Listen: "127.0.0.1:8025"},
	}
	compare(t, "the configuration of 2012", *c.Config, want)
	for domain, want := range map[string]bool{"bar.com": true, "mail.example.com": false} {
		if got := c.Hosts.Match(domain); got != want {
			t.Errorf("Hosts.Match(%q) is %v, want %v", domain, got, want)
		}
	}
	n := 0
	for _, k := range stores.Keys() {
		if !k.Since2012 {
			continue
		}
		n++
		if !strings.Contains(text, `"`+k.Name+`":`) {
			t.Errorf("%s is not a key of 2012", k.Name)
		}
	}
	if n != 20 {
		t.Errorf("%d keys of 2012, want 20", n)
	}
}

// TestValues: a value is parsed, and it sets the defaults of other keys.
func TestValues(t *testing.T) {
	m := newMachine()
	cases := []struct {
		text string
		got  func(c *stores.Configuration) any
		want any
	}{
		// Each of the two host names is the default of the other. Both are ASCII.
		{`{"GM_PRIMARY_MAIL_HOST": "Example.com."}`, func(c *stores.Configuration) any { return c.HostName + " " + c.PrimaryHost }, "Example.com Example.com"},
		{`{"GSMTP_HOST_NAME": "mx.bücher.example"}`, func(c *stores.Configuration) any { return c.HostName + " " + c.PrimaryHost }, "mx.xn--bcher-kva.example mx.xn--bcher-kva.example"},
		{`{"GSMTP_HOST_NAME": "mx", "GM_PRIMARY_MAIL_HOST": "[ipv6:2001:DB8::0:1]"}`, func(c *stores.Configuration) any { return c.HostName + " " + c.PrimaryHost }, "mx [IPv6:2001:db8::1]"},
		// Y, N and words are accepted in any case.
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
		// Redis.
		{`{"REDIS_MODE": "store"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"REDIS_MODE=store, REDIS_PASS or REDIS_STREAM is set without REDIS_HOST: Redis gets no messages"}},
		{`{"REDIS_HOST": "[::1]:6379", "GM_SAVE_MAIL": "discard"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"GM_SAVE_MAIL is discard: the Redis of REDIS_HOST gets no messages either"}},
		// Proxies.
		{`{"NGINX_AUTH_ENABLED": "y", "NGINX_AUTH": "[::1]:9000", "NGINX_AUTH_BACKENDS": "192.0.2.1:25, [2001:db8::1]:2525"}`,
			func(c *stores.Configuration) any { return c.AuthHTTP },
			config.AuthHTTP{Enabled: true, Listen: "[::1]:9000", Backends: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:25"), netip.MustParseAddrPort("[2001:db8::1]:2525")}}},
		{`{"GSMTP_PROXY_PROTOCOL": "Y", "GSMTP_TRUSTED_PROXIES": "unix"}`, func(c *stores.Configuration) any { return c.ProxyProtocol && len(c.Warnings) == 0 }, true},
		{`{"GSMTP_PROXY_PROTOCOL": "Y"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"GSMTP_PROXY_PROTOCOL is Y without GSMTP_TRUSTED_PROXIES: no client may send a PROXY header"}},
		// Recipients.
		{`{"GM_RECIPIENT_QUERY": "SELECT 1"}`, func(c *stores.Configuration) any { return c.Warnings },
			[]string{"GM_RECIPIENT_QUERY has neither :address nor :domain: the answer is the same for every recipient"}},
	}
	for _, c := range cases {
		if got := c.got(mustParse(t, m, c.text)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s\n got %#v\nwant %#v", c.text, got, c.want)
		}
	}
}

// TestMachineDefaults: the defaults of GSMTP_MEMORY and GSMTP_HOST_NAME come from
// the machine.
func TestMachineDefaults(t *testing.T) {
	m := newMachine()
	m.memory = 1000 << 20
	if c := mustParse(t, m, `{}`); c.Memory != 250<<20 || len(c.Warnings) > 0 {
		t.Errorf("Memory is %d, want %d, a quarter of the machine's; warnings %q", c.Memory, 250<<20, c.Warnings)
	}
	if got := mustParse(t, m, `{"GSMTP_MAX_SIZE": "100000000"}`).Memory; got != 400000000 {
		t.Errorf("Memory is %d, want 400000000, four messages of the maximum size", got)
	}
	m.fqdn = "not a name"
	if c := mustParse(t, m, `{}`); c.HostName != "localhost" || len(c.Warnings) != 1 {
		t.Errorf("HostName is %s, want localhost; warnings %q, want 1", c.HostName, c.Warnings)
	}
}

// TestCertificateDates: a certificate that is not valid now causes a warning.
func TestCertificateDates(t *testing.T) {
	for until, want := range map[time.Time]string{
		now().AddDate(0, 0, -1): "the certificate in GSMTP_PUB_KEY expired on 2026-05-31",
		now().AddDate(2, 0, 0):  "the certificate in GSMTP_PUB_KEY is not valid before 2027-06-01",
	} {
		m := newMachine()
		m.files["/k"], m.files["/c"] = pair(t, until)
		c := mustParse(t, m, `{"GSMTP_PRV_KEY": "/k", "GSMTP_PUB_KEY": "/c"}`)
		if !reflect.DeepEqual(c.Warnings, []string{want}) {
			t.Errorf("certificate until %v: warnings %q, want %q", until, c.Warnings, want)
		}
	}
}

// TestCertificates: the lists of keys and chains have equal lengths, and an error names the
// file. Without the keys, the systemd credentials are used.
func TestCertificates(t *testing.T) {
	m := newMachine()
	for _, name := range []string{"1", "2", "/run/credentials/tls_"} {
		key, chain := pair(t, now().AddDate(1, 0, 0))
		if len(name) == 1 {
			m.files["/k"+name], m.files["/c"+name] = key, chain
		} else {
			m.files[name+"key"], m.files[name+"cert"] = key, chain
		}
	}
	c := mustParse(t, m, `{"GSMTP_PRV_KEY": "/k1, /k2", "GSMTP_PUB_KEY": "/c1,/c2"}`)
	if len(c.Certificates) != 2 || !slices.Equal(c.KeyFiles, []string{"/k1", "/k2"}) || !slices.Equal(c.CertFiles, []string{"/c1", "/c2"}) {
		t.Errorf("%d certificates of %q and %q", len(c.Certificates), c.KeyFiles, c.CertFiles)
	}
	for text, want := range map[string]string{
		`{"GSMTP_PRV_KEY": "/k1,/k2", "GSMTP_PUB_KEY": "/c1"}`:     `f:1:47: GSMTP_PUB_KEY: "/c1" has the length 1, and GSMTP_PRV_KEY the length 2: want lists of equal length`,
		`{"GSMTP_PRV_KEY": "/k1,/k2", "GSMTP_PUB_KEY": "/c2,/c1"}`: `f:1:19: GSMTP_PRV_KEY: "/k1" does not belong to the certificate in GSMTP_PUB_KEY: want the private key of the certificate`,
		`{"GSMTP_PRV_KEY": "/k1,/k3", "GSMTP_PUB_KEY": "/c1,/c2"}`: `f:1:19: GSMTP_PRV_KEY: "/k3" cannot be read: file does not exist: want a PEM private key`,
		`{"GSMTP_PRV_KEY": "/k1,", "GSMTP_PUB_KEY": "/c1,/c2"}`:    `f:1:19: GSMTP_PRV_KEY: "/k1," has an empty element 2: want paths separated by commas`,
		`{"GSTMP_LISTEN_INTERFACE": ":25,smtps://:465"}`:           `f:1:28: GSTMP_LISTEN_INTERFACE: ":25,smtps://:465" has smtps:// without a certificate: want GSMTP_PRV_KEY and GSMTP_PUB_KEY as well`,
	} {
		if _, err := stores.Parse("f", []byte(text), m.env()); err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
	m.vars = map[string]string{"CREDENTIALS_DIRECTORY": "/run/credentials"}
	if c := mustParse(t, m, `{"GSTMP_LISTEN_INTERFACE": "smtps://[::]:465"}`); len(c.Certificates) != 1 || c.KeyFiles[0] != "/run/credentials/tls_key" {
		t.Errorf("%d certificates of %q", len(c.Certificates), c.KeyFiles)
	}
	if c := mustParse(t, m, `{"GSMTP_PRV_KEY": "/k1", "GSMTP_PUB_KEY": "/c1"}`); c.KeyFiles[0] != "/k1" {
		t.Errorf("the credential has replaced the key: %q", c.KeyFiles)
	}
	delete(m.files, "/run/credentials/tls_key")
	if _, err := stores.Parse("f", []byte("{}"), m.env()); err == nil || err.Error() != "f: GSMTP_PUB_KEY: is set without GSMTP_PRV_KEY: want both, or neither" {
		t.Errorf("without tls_key: %v", err)
	}
}

// TestNeedsRestart: only a change of the user or the group needs a restart.
func TestNeedsRestart(t *testing.T) {
	m := newMachine()
	a := mustParse(t, m, `{"GUID": "mail", "GSMTP_TIMEOUT": "1"}`)
	b := mustParse(t, m, `{"GUID": "77", "SGID": "77", "GSMTP_TIMEOUT": "2"}`)
	if got := a.NeedsRestart(a.Config); len(got) != 0 {
		t.Errorf("no key has changed: got %q, want none", got)
	}
	if got := a.NeedsRestart(b.Config); !reflect.DeepEqual(got, []string{"SGID", "GUID"}) {
		t.Errorf("got %q, want SGID and GUID", got)
	}
}

// TestError: the fields of an Error have the position and the parts of its text.
func TestError(t *testing.T) {
	_, err := stores.Parse("x/g.conf", []byte("{\n  \"GSMTP_TIMEOUT\": \"abc\"\n}"), newMachine().env())
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatalf("got a %T, want a *config.Error", err)
	}
	want := config.Error{File: "x/g.conf", Line: 2, Column: 20, Key: "GSMTP_TIMEOUT", Value: "abc",
		Problem: "is not a whole number", Want: "want whole seconds from 1 to 86400, digits only"}
	compare(t, err.Error(), *e, want)
}

// TestLoad: Load reads a file with the users and the memory of this machine. Its
// errors begin with the path.
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
	if err != nil {
		t.Fatal(err)
	}
	if c.File != good {
		t.Errorf("File is %s, want %s", c.File, good)
	}
	if c.User.Num == 0 || c.Group.Num == 0 {
		t.Errorf("user %+v, group %+v, want the ids of daemon", c.User, c.Group)
	}
	if c.Memory < 4*c.MaxSize {
		t.Errorf("Memory is %d, want at least %d", c.Memory, 4*c.MaxSize)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.conf"): ": there is no such file: want a copy of goguerrilla.conf.sample, or another path in -config",
		dir:                             ": cannot be read: is a directory: want a readable file",
		file("huge.conf", strings.Repeat(" ", 1<<20+1)):  ": is larger than 1 MiB: want a smaller file",
		file("bad.conf", `{"GSMTP_HOST_NAME": "a b.c"}`): `:1:21: GSMTP_HOST_NAME: "a b.c" is not a domain, it has a character that is not allowed in a domain: want one domain, such as mail.example.com`,
		file("user.conf", `{"GUID": "no-such-user"}`):    `:1:10: GUID: "no-such-user" is not a user of this machine: want the name or number of a user`,
	} {
		if _, err := stores.Load(path); err == nil || err.Error() != path+want {
			t.Errorf(" got %v\nwant %s%s", err, path, want)
		}
	}
}

// TestReadablePassword: a password in a file that every user can read causes a warning,
// which does not contain the password.
func TestReadablePassword(t *testing.T) {
	for _, tt := range []struct {
		mode os.FileMode
		text string
		want int
	}{
		{0o644, `{"REDIS_PASS": "pass-1234", "REDIS_HOST": "127.0.0.1:6379"}`, 1},
		{0o640, `{"REDIS_PASS": "pass-1234", "REDIS_HOST": "127.0.0.1:6379"}`, 0},
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
			if strings.Contains(w, "REDIS_PASS is in a file that every user of this machine can read") && !strings.Contains(w, "pass-1234") {
				warnings++
			}
		}
		if warnings != tt.want {
			t.Errorf("mode %o, %s: %d warnings of the password, want %d; all: %q", tt.mode, tt.text, warnings, tt.want, cfg.Warnings)
		}
	}
}
