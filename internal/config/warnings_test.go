package config_test

import (
	"slices"
	"strings"
	"testing"

	"goguerrillad/internal/stores"
)

// TestWarnings: a valid key that is dangerous or has no effect causes a warning. Similar
// configurations cause none.
func TestWarnings(t *testing.T) {
	const (
		webhook  = `"GM_SAVE_MAIL": "webhook", `
		signed   = webhook + `"WEBHOOK_SECRET": "s", `
		https    = `"WEBHOOK_URL": "https://hooks.example.com/"`
		redis    = `"REDIS_HOST": "/run/redis.sock", `
		inClear  = "WEBHOOK_URL is http:"
		unsigned = "WEBHOOK_SECRET is not set:"
		notZlib  = "GM_MAIL_COMPRESS=Y has no effect:"
		noRedis  = "REDIS_MODE=store, REDIS_PASS or REDIS_STREAM is set without REDIS_HOST:"
		forged   = "GSMTP_TRUSTED_PROXIES trusts every address:"
		noMySQL  = "MYSQL_DB is set without MYSQL_HOST:"
	)
	for _, c := range []struct {
		text string
		want []string // the beginnings
	}{
		{signed + https, nil},
		{signed + `"WEBHOOK_URL": "https://192.0.2.1/"`, nil},
		{signed + `"WEBHOOK_URL": "http://localhost:8080/"`, nil},
		{signed + `"WEBHOOK_URL": "http://127.9.9.9/"`, nil},
		{signed + `"WEBHOOK_URL": "http://[::1]:8080/"`, nil},
		{signed + `"WEBHOOK_URL": "http://192.0.2.1/"`, []string{inClear}},
		{signed + `"WEBHOOK_URL": "http://[2001:db8::1]/"`, []string{inClear}},
		{signed + `"WEBHOOK_URL": "http://localhost.example.com/"`, []string{inClear}},
		{webhook + https, []string{unsigned}},
		{webhook + `"WEBHOOK_URL": "http://hooks.example.com/"`, []string{inClear, unsigned}},
		{`"WEBHOOK_URL": "http://hooks.example.com/"`, []string{"WEBHOOK_URL has no effect: GM_SAVE_MAIL is sqlite"}},
		{webhook + `"WEBHOOK_SECRET": "s", "MYSQL_HOST": "db:3306", "MYSQL_DB": "d", "MYSQL_SPREAD": "N", "SQLITE_FILE": "f", ` + https, []string{
			"MYSQL_HOST and MYSQL_DB have no effect: GM_SAVE_MAIL is webhook", "SQLITE_FILE has no effect: GM_SAVE_MAIL is webhook"}},
		{signed + `"MYSQL_HOST": "db:3306", "MYSQL_DB": "d", "GM_RECIPIENT_QUERY": "SELECT :address", ` + https, nil},
		{signed + `"MYSQL_HOST": "db:3306", "MYSQL_DB": "d", "SQLITE_FILE": "f", "GM_RECIPIENT_QUERY": "SELECT :address", ` + https, []string{
			"SQLITE_FILE has no effect: GM_SAVE_MAIL is webhook"}},
		{`"GM_SAVE_MAIL": "maildir", "SQLITE_FILE": "f", "GM_RECIPIENT_QUERY": "SELECT :address"`, nil},
		{`"GM_SAVE_MAIL": "maildir", "GM_MAIL_TABLE": "t"`, []string{"GM_MAIL_TABLE has no effect: GM_SAVE_MAIL=maildir has no table"}},
		{`"MYSQL_HOST": "db:3306", "MYSQL_DB": "d", "GM_MIN_FREE": "1000", "GM_KEEP_HOURS": "24"`, []string{"GM_MIN_FREE has no effect: GM_SAVE_MAIL=mysql has no files on this machine"}},
		{`"GM_SAVE_MAIL": "maildir", "GM_MIN_FREE": "0", "GM_KEEP_HOURS": "1"`, nil},
		{`"GM_RECIPIENT_CACHE_SECONDS": "5"`, []string{"GM_RECIPIENT_CACHE_SECONDS has no effect:"}},
		{`"GM_MAIL_COMPRESS": "Y", ` + signed + https, []string{notZlib}},
		{`"GM_MAIL_COMPRESS": "Y", "GM_SAVE_MAIL": "maildir"`, []string{notZlib}},
		{`"GM_MAIL_COMPRESS": "N", "GM_SAVE_MAIL": "maildir"`, nil},
		{`"GM_MAIL_COMPRESS": "Y", "GM_SAVE_MAIL": "sqlite"`, nil},
		{`"REDIS_MODE": "store"`, []string{noRedis}},
		{`"REDIS_PASS": "p"`, []string{noRedis}},
		{`"REDIS_STREAM": "s"`, []string{noRedis}},
		{`"REDIS_MODE": "cache"`, nil},
		{redis + `"REDIS_MODE": "store", "REDIS_PASS": "p", "REDIS_STREAM": "s"`, nil},
		{redis + `"REDIS_MODE": "cache", "GM_SAVE_MAIL": "maildir"`, nil},
		{`"REDIS_MODE": "store", "GM_SAVE_MAIL": "maildir"`, []string{noRedis}},
		{`"GSMTP_TRUSTED_PROXIES": "0.0.0.0/0"`, []string{forged}},
		{`"GSMTP_TRUSTED_PROXIES": "0.0.0.0/1"`, nil},
		{`"MYSQL_DB": "d"`, []string{noMySQL}},
		{`"MYSQL_DB": "d", "GM_SAVE_MAIL": "sqlite"`, nil},
	} {
		got := mustParse(t, newMachine(), "{"+c.text+"}").Warnings
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s\n got %q\nwant %q", c.text, got, c.want)
		}
	}
	// REDIS_MODE=store needs a table.
	for _, store := range []string{`"GM_SAVE_MAIL": "maildir", `, signed + https + ", "} {
		_, err := stores.Parse("f", []byte("{"+store+redis+`"REDIS_MODE": "store"}`), newMachine().env())
		if err == nil || !strings.Contains(err.Error(), `REDIS_MODE: "store" is not possible with GM_SAVE_MAIL=`) {
			t.Errorf("%s: %v", store, err)
		}
	}
}
