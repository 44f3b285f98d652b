package config_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestMemoryWarning: the warning about GSMTP_MEMORY has the key to lower.
func TestMemoryWarning(t *testing.T) {
	m := newMachine()
	const text = "GSMTP_MEMORY is %d bytes, too much for a memory of %d bytes: lower %s"
	for _, tt := range []struct {
		memory int64 // MiB
		file   string
		want   string // "" = no warning
	}{
		{128, `{}`, fmt.Sprintf(text, 100<<20, 128<<20, "GSMTP_MAX_SIZE to 8388608")},
		{128, `{"GSMTP_MAX_SIZE": "8388608"}`, ""},
		{220, `{}`, fmt.Sprintf(text, 100<<20, 220<<20, "GSMTP_MAX_SIZE to 14417920")},
		{256, `{}`, ""},
		{1000, `{"GSMTP_MEMORY": "600000000"}`, fmt.Sprintf(text, 600000000, 1000<<20, "GSMTP_MEMORY")},
	} {
		m.memory = tt.memory << 20
		if c := mustParse(t, m, tt.file); strings.Join(c.Warnings, "\n") != tt.want {
			t.Errorf("%d MiB, %s: warnings %q, want %q", tt.memory, tt.file, c.Warnings, tt.want)
		}
	}
}
