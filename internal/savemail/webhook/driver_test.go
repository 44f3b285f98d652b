package webhook

import "testing"

func TestParseKey(t *testing.T) {
	for secret, want := range map[string]string{"whsec_MDEyMw==": "0123", "any text": "any text"} {
		if key, err := parseKey(secret); err != nil || string(key) != want {
			t.Errorf("%s: %q, %v, want %q", secret, key, err, want)
		}
	}
	for _, secret := range []string{"whsec_", "whsec_!", "whsec_MDEyMw", "a\x00"} {
		if key, err := parseKey(secret); err == nil {
			t.Errorf("%q: %q, want an error", secret, key)
		}
	}
}
