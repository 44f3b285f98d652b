package mysql

import (
	"reflect"
	"strings"
	"testing"

	"goguerrillad/internal/config"
	"goguerrillad/internal/test"
)

// parse parses a configuration, with pass as the credential mysql_pass unless it
// is "".
func parse(text, pass string, selected bool) (*Options, *config.Config, error) {
	o := &Options{}
	files := map[string]string{}
	if pass != "" {
		files["/creds/mysql_pass"] = pass
	}
	env := test.Environment(map[string]string{"CREDENTIALS_DIRECTORY": "/creds"}, files)
	c, err := config.Parse("f", []byte(text), env, config.Extension{
		Keys:  append(keys(o), config.Key{Name: "GM_SAVE_MAIL", Set: func(*config.Draft, string) error { return nil }}),
		Check: func(draft *config.Draft) error { return check(draft, o, selected) },
	})
	return o, c, err
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		text, pass string
		want       Options
	}{
		{`{}`, "", Options{TLS: tlsOff}},
		{`{"MYSQL_HOST": "a:3306, [::1]:3307,/run/mysqld/mysqld.sock", "MYSQL_DB": "d", "MYSQL_USER": "u", "MYSQL_SPREAD": "y"}`, "",
			Options{Hosts: []string{"a:3306", "[::1]:3307", "/run/mysqld/mysqld.sock"}, DB: "d", User: "u", Spread: true, TLS: tlsOff}},
		{`{"MYSQL_TLS": "y"}`, "", Options{TLS: tlsVerify}},
		{`{"MYSQL_TLS": "Preferred"}`, "", Options{TLS: tlsPreferred}},
		{`{"MYSQL_PASS": "\u0001\"\\\n ü"}`, "", Options{Pass: "\x01\"\\\n ü", TLS: tlsOff}},
		{`{"MYSQL_PASS": ""}`, " from systemd \n", Options{Pass: " from systemd ", TLS: tlsOff}},
		{`{}`, strings.Repeat("x", 4096), Options{Pass: strings.Repeat("x", 4096), TLS: tlsOff}},
		{`{"MYSQL_PASS": "key"}`, "credential", Options{Pass: "key", TLS: tlsOff}},
	} {
		o, _, err := parse(c.text, c.pass, false)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, want := reflect.ValueOf(*o), reflect.ValueOf(c.want)
		for i := range got.NumField() {
			if !reflect.DeepEqual(got.Field(i).Interface(), want.Field(i).Interface()) {
				t.Errorf("%s: %s is %v, want %v", c.text, got.Type().Field(i).Name, got.Field(i), want.Field(i))
			}
		}
	}
	const want = "f: MYSQL_PASS: the systemd credential mysql_pass is too long: want at most 4096 bytes"
	if _, _, err := parse("{}", strings.Repeat("x", 4097), false); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestBatching: there are extra writers if there are several hosts.
func TestBatching(t *testing.T) {
	for _, c := range []struct {
		hosts          []string
		spread         bool
		writers, extra int
	}{
		{[]string{"127.0.0.1:1"}, false, 2, 0},
		{[]string{"127.0.0.1:1", "127.0.0.2:1"}, false, 2, 2},
		{[]string{"127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"}, true, 3, 3},
	} {
		s, err := open(Options{Hosts: c.hosts, DB: "d", Spread: c.spread}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Writers != c.writers || s.ExtraWriters != c.extra {
			t.Errorf("%s: %d writers and %d extra writers, want %d and %d", c.hosts, s.Writers, s.ExtraWriters, c.writers, c.extra)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := open(Options{}, nil); err == nil || err.Error() != "MYSQL_HOST: no MySQL host is given" {
		t.Errorf("without a host: %v", err)
	}
}
