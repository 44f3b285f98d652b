package redis

import (
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
)

// parse parses a configuration of Redis around a store with a table, with a
// credential unless pass is "".
func parse(text, pass string) (Options, error) {
	s := &Settings{}
	files := map[string]string{}
	if pass != "" {
		files["/creds/redis_pass"] = pass
	}
	env := test.Environment(map[string]string{"CREDENTIALS_DIRECTORY": "/creds"}, files)
	c, err := config.Parse("f", []byte(text), env, config.Extension{
		Keys:  s.Keys(),
		Check: func(d *config.Draft) error { return s.Check(d, savemail.Driver{Name: "sqlite", Table: true}) },
	})
	if err != nil {
		return Options{}, err
	}
	return s.Options(c, nil), nil
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		text, pass string
		want       Options
	}{
		{`{}`, "", Options{Expire: time.Hour, StreamMax: 100_000}},
		{`{"REDIS_HOST": "/run/redis.sock", "REDIS_PASS": " ü", "REDIS_DB": "7", "REDIS_MODE": "STORE", "REDIS_EXPIRE_SECONDS": "60", "REDIS_STREAM": "messages", "REDIS_STREAM_MAXLEN": "7", "GM_MAIL_COMPRESS": "Y"}`, "",
			Options{Host: "/run/redis.sock", Pass: " ü", DB: 7, InPlace: true, Expire: time.Minute, Compress: true, Stream: "messages", StreamMax: 7}},
		{`{"REDIS_PASS": ""}`, " from systemd \r\n", Options{Pass: " from systemd ", Expire: time.Hour, StreamMax: 100_000}},
		{`{"REDIS_PASS": "key"}`, "credential", Options{Pass: "key", Expire: time.Hour, StreamMax: 100_000}},
	} {
		if got, err := parse(c.text, c.pass); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
	const want = "f: REDIS_PASS: the systemd credential redis_pass is too long: want at most 4096 bytes"
	if _, err := parse("{}", strings.Repeat("x", 4097)); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
