package httpd_test

import (
	"net/http"
	"strings"
	"testing"

	"goguerrillad/internal/httpd"
)

// TestProtect tests the headers that security scanners check.
func TestProtect(t *testing.T) {
	h := http.Header{}
	httpd.Protect(h)
	for name, want := range map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
		if got := h.Get("Content-Security-Policy"); !strings.Contains(got, want) {
			t.Errorf("Content-Security-Policy %q lacks %s", got, want)
		}
	}
}
