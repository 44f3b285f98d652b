package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestLoad: -if and -v override the values of the file.
func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "goguerrilla.conf")
	const own, other = "127.0.0.1:2525", "127.0.0.1:2526"
	for _, tt := range []struct {
		verbose string // in the file
		args    []string
		listen  string
		want    bool
	}{
		{"N", nil, own, false},
		{"Y", nil, own, true},
		{"N", []string{"-v", "y"}, own, true},
		{"N", []string{"-v", "N"}, own, false},
		{"Y", []string{"-v=n"}, own, false},
		{"Y", []string{"-v=Y"}, own, true},
		{"Y", []string{"-if", ""}, own, true},
		{"N", []string{"-if", other}, other, false},
		{"Y", []string{"-if=" + other, "-v=n"}, other, false},
	} {
		text := `{"GSTMP_LISTEN_INTERFACE": "` + own + `", "GSMTP_VERBOSE": "` + tt.verbose + `"}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := parseFlags(append(tt.args, "-config", file), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := f.load()
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Verbose != tt.want || !slices.Equal(cfg.Listen, []string{tt.listen}) {
			t.Errorf("GSMTP_VERBOSE=%s, %q: verbose %v, listen %q", tt.verbose, tt.args, cfg.Verbose, cfg.Listen)
		}
	}
}
