package mysql

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// parse parses a configuration for the driver, with a credential unless pass is
// "".
func parse(text, pass string, selected bool) (*Driver, *config.Config, error) {
	d := &Driver{}
	env := config.Environment{
		Getenv: func(name string) string { return map[string]string{"CREDENTIALS_DIRECTORY": "/creds"}[name] },
		ReadFile: func(path string) ([]byte, error) {
			if path != "/creds/mysql_pass" || pass == "" {
				return nil, fs.ErrNotExist
			}
			return []byte(pass), nil
		},
		Now:    time.Now,
		Memory: func() int64 { return 1 << 30 },
		FQDN:   func() string { return "mx.example.com" },
	}
	c, err := config.Parse("f", []byte(text), env, config.Extension{
		Keys:  append(d.Keys(), config.Key{Name: "GM_SAVE_MAIL", Set: func(*config.Draft, string) error { return nil }}),
		Check: func(draft *config.Draft) error { return d.Check(draft, selected) },
	})
	return d, c, err
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		text, pass string
		want       Options
	}{
		{`{}`, "", Options{TLS: TLSOff}},
		{`{"MYSQL_HOST": "a:3306, [::1]:3307,/run/mysqld/mysqld.sock", "MYSQL_DB": "d", "MYSQL_USER": "u", "MYSQL_SPREAD": "y"}`, "",
			Options{Hosts: []string{"a:3306", "[::1]:3307", "/run/mysqld/mysqld.sock"}, DB: "d", User: "u", Spread: true, TLS: TLSOff}},
		{`{"MYSQL_TLS": "y"}`, "", Options{TLS: TLSVerify}},
		{`{"MYSQL_TLS": "Preferred"}`, "", Options{TLS: TLSPreferred}},
		{`{"MYSQL_PASS": "\u0001\"\\\n ü"}`, "", Options{Pass: "\x01\"\\\n ü", TLS: TLSOff}},
		{`{"MYSQL_PASS": ""}`, " from systemd \n", Options{Pass: " from systemd ", TLS: TLSOff}},
		{`{}`, strings.Repeat("x", 4096), Options{Pass: strings.Repeat("x", 4096), TLS: TLSOff}},
		{`{"MYSQL_PASS": "key"}`, "credential", Options{Pass: "key", TLS: TLSOff}},
	} {
		d, _, err := parse(c.text, c.pass, false)
		if err != nil || !reflect.DeepEqual(d.o, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.text, d.o, err, c.want)
		}
	}
	const want = "f: MYSQL_PASS: the systemd credential mysql_pass is too long: want at most 4096 bytes"
	if _, _, err := parse("{}", strings.Repeat("x", 4097), false); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestBatching: another writer can replace a slow one if there is another host.
func TestBatching(t *testing.T) {
	for _, c := range []struct {
		hosts, spread  string
		writers, extra int
		descriptors    int
	}{
		{"127.0.0.1:1", "N", 2, 0, 12},
		{"127.0.0.1:1,127.0.0.2:1", "N", 2, 2, 24},
		{"127.0.0.1:1,127.0.0.2:1,127.0.0.3:1", "Y", 3, 3, 36},
	} {
		d, cfg, err := parse(`{"MYSQL_DB": "d", "MYSQL_HOST": "`+c.hosts+`", "MYSQL_SPREAD": "`+c.spread+`"}`, "", true)
		if err != nil {
			t.Fatal(err)
		}
		s, err := d.Open(savemail.Setup{Config: cfg})
		if err != nil {
			t.Fatal(err)
		}
		if s.Writers != c.writers || s.ExtraWriters != c.extra {
			t.Errorf("%s: %d writers and %d extra writers, want %d and %d", c.hosts, s.Writers, s.ExtraWriters, c.writers, c.extra)
		}
		if n := d.Descriptors(); n != c.descriptors {
			t.Errorf("%s: %d descriptors, want %d", c.hosts, n, c.descriptors)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	d := &Driver{}
	if _, err := d.Open(savemail.Setup{Config: &config.Config{}}); err == nil || err.Error() != "MYSQL_HOST: no MySQL host is given" {
		t.Errorf("without a host: %v", err)
	}
}
