package postgres_test

import (
	"strings"
	"testing"

	"goguerrillad/internal/savemail/postgres"
)

// TestDSN: the error names the mistake, and never contains the password.
func TestDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://u:secret@h:port/d":                       "invalid port",
		"postgres://u:secret@h/d?sslmode=verfy-full":         "failed to configure TLS: sslmode is invalid",
		"postgres://u:secret@h/d?sslrootcert=/no/ca":         "failed to configure TLS: unable to read CA file: open /no/ca: no such file or directory",
		"host=h password=secret target_session_attrs=primry": "unknown target_session_attrs value",
		"host=h password=secret connect_timeout=x":           "invalid connect_timeout",
		"service=s servicefile=/no/file password=secret":     "failed to read service: failed to read service file: /no/file",
		"host=h password=sec ret":                            "is neither a URI nor key=value of libpq",
		"host=h password='`: invalid secret":                 "is neither a URI nor key=value of libpq",
		"postgres://u:%secret@h/d":                           "is neither a URI nor key=value of libpq",
	} {
		_, err := postgres.New(postgres.Options{DSN: dsn})
		if err == nil || err.Error() != want || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", dsn, err, want)
		}
	}
}
