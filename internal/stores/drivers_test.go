package stores

import "testing"

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
		if q := d.Query; q != nil && (q.Try == nil || q.Descriptors < 1) {
			t.Errorf("%s: its Query lacks Try or Descriptors", d.Name)
		}
	}
	if !names[fallback] {
		t.Errorf("there is no store %s", fallback)
	}
}
