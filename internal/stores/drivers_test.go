package stores

import (
	"os"
	"slices"
	"testing"
)

// TestDrivers: every driver has the fields that the daemon needs.
func TestDrivers(t *testing.T) {
	names := map[string]bool{}
	for _, d := range drivers() {
		if d.Name == "" || names[d.Name] {
			t.Errorf("the name %q is empty or not unique", d.Name)
		}
		names[d.Name] = true
		if d.Descriptors == nil || d.Open == nil {
			t.Errorf("%s lacks Descriptors or Open", d.Name)
		}
		if q := d.Query; q != nil && (q.Try == nil || q.Descriptors == nil) {
			t.Errorf("%s: its Query lacks Try or Descriptors", d.Name)
		}
	}
	if !names[fallback] {
		t.Errorf("there is no store %s", fallback)
	}
}

// TestDriversListed: every store below savemail has a driver in the list.
func TestDriversListed(t *testing.T) {
	dirs, err := os.ReadDir("../savemail")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range drivers() {
		names = append(names, d.Name)
	}
	for _, dir := range dirs {
		isStore := dir.IsDir() && dir.Name() != "newmail" && dir.Name() != "redis"
		if isStore && !slices.Contains(names, dir.Name()) {
			t.Errorf("drivers lacks %s", dir.Name())
		}
	}
}
