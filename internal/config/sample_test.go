package config_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"goguerrillad/internal/stores"
)

// TestSample: the sample contains every key with its default, the 20 keys of 2012
// first.
func TestSample(t *testing.T) {
	text, err := os.ReadFile("../../goguerrilla.conf.sample")
	if err != nil {
		t.Fatal(err)
	}
	want := "{"
	for _, k := range stores.Keys() {
		want += "\n    \"" + k.Name + "\": \"" + k.Default + "\","
	}
	want = strings.TrimSuffix(want, ",") + "\n}\n"
	if string(text) != want {
		t.Errorf("the sample is\n%swant\n%s", text, want)
	}
	if !json.Valid(text) {
		t.Error("the sample is not JSON")
	}
	c := mustParse(t, newMachine(), string(text))
	compare(t, "the sample has other values than {}", *c.Config, *mustParse(t, newMachine(), "{}").Config)
}

// TestKeys: each key is complete and listed once, and the keys of 2012 come first.
func TestKeys(t *testing.T) {
	seen := make(map[string]bool)
	for i, k := range stores.Keys() {
		if seen[k.Name] {
			t.Errorf("%s is listed twice", k.Name)
		}
		seen[k.Name] = true
		if k.Since2012 != (i < 20) {
			t.Errorf("%s is in the wrong place", k.Name)
		}
		if k.Doc == "" || strings.ContainsAny(k.Doc, "\n\"") {
			t.Errorf("%s: Doc is %q, want one line without quotes", k.Name, k.Doc)
		}
		if (k.Default == "") != (k.Derived != "") {
			t.Errorf("%s: Default is %q and Derived %q, want exactly one of them", k.Name, k.Default, k.Derived)
		}
		if secret := strings.HasSuffix(k.Name, "_PASS") || strings.HasSuffix(k.Name, "_SECRET"); secret && !k.Secret {
			t.Errorf("%s is not secret", k.Name)
		}
	}
}
