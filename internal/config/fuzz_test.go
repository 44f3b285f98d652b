package config_test

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"goguerrillad/internal/config"
	"goguerrillad/internal/stores"
)

// FuzzParse: Parse accepts only JSON objects of strings, and then returns a complete
// Config. Otherwise it returns a *config.Error of one printable line.
func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("../../goguerrilla.conf.sample")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(sample))
	for _, seed := range []string{
		``, `{}`, `{"GM_ALLOWED_HOSTS": "bücher.example,*.a.com,."}`, `{"GSMTP_TIMEOUT": 1}`, "{\n\t\"SUID\": \"\\u0000\"",
		`{"MYSQL_PASS": "a"b"}`, `{"GUID": "mail", "SGID": "508"} // x`, "\ufeff{}", `{"GSTMP_LISTEN_INTERFACE": "[::1]:25,:0"}`,
		`{"MYSQL_HOST": "/run/x.sock,[::1]:3306", "MYSQL_DB": "d", "MYSQL_TLS": "y"}`, `{"GSMTP_PRV_KEY": "/k", "GSMTP_PUB_KEY": "/c"}`,
		`{"A":"b",,}`, `{"A":}`, `{"A";"b"}`, "{\"\xff\":\"\"}", `{"GSMTP_MEMORY": "1", "GM_MAIL_TABLE": "a.b"}`,
	} {
		f.Add(seed)
	}
	m := newMachine()
	m.files["/k"], m.files["/c"] = pair(f, now().AddDate(0, 1, 0))
	env := m.env()
	f.Fuzz(func(t *testing.T, text string) {
		c, err := stores.Parse("f", []byte(text), env)
		if err == nil {
			var values map[string]string
			if err := json.Unmarshal([]byte(text), &values); err != nil {
				t.Fatalf("accepted, but not an object of strings: %v", err)
			}
			if c.MaxSize < 1 || c.Memory < 4*c.MaxSize || c.Timeout <= 0 || c.MaxClients < 1 || len(c.Listen) == 0 ||
				c.HostName == "" || c.PrimaryHost == "" || c.Table == "" || c.SaveMail == "" {
				t.Fatalf("accepted without a default: %+v", c)
			}
			return
		}
		var e *config.Error
		if !errors.As(err, &e) {
			t.Fatalf("got a %T, want a *config.Error", err)
		}
		if e.Line > strings.Count(text, "\n")+1 || e.Line > 0 && e.Column < 1 {
			t.Fatalf("the position %d:%d does not exist", e.Line, e.Column)
		}
		if m := err.Error(); strings.ContainsFunc(m, func(r rune) bool { return !unicode.IsPrint(r) }) || len(m) > 2000 {
			t.Fatalf("the error is not one printable line: %s", strconv.Quote(m))
		}
	})
}
