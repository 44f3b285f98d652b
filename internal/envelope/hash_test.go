package envelope_test

import (
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
)

// TestHashes: hashes are unique, 64 consecutive hashes have their first 4
// digits in common, and any digit occurs in each of the other places.
func TestHashes(t *testing.T) {
	const runs = 100
	var source envelope.HashSource
	seen, prefixes, digits := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range runs * 64 {
		hash := source.New()
		if len(hash) != 32 || strings.Trim(hash, "0123456789abcdef") != "" {
			t.Fatalf("hash %d is %q, want 32 lower-case hexadecimal digits", i, hash)
		}
		if seen[hash] {
			t.Fatalf("hash %d, %s, is not unique", i, hash)
		}
		seen[hash] = true
		if i%64 != 0 && !prefixes[hash[:4]] {
			t.Errorf("hash %d, %s, has another prefix than hash %d", i, hash, i-1)
		}
		prefixes[hash[:4]] = true
		for at := 4; at < len(hash); at++ {
			digits[fmt.Sprint(at, hash[at:at+1])] = true
		}
	}
	if len(prefixes) < runs-5 { // two runs may have the same prefix by accident
		t.Errorf("%d runs have %d prefixes", runs, len(prefixes))
	}
	if want := 28 * 16; len(digits) != want {
		t.Errorf("%d pairs of a position and a digit occur, want %d", len(digits), want)
	}
}
