package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestCustomisingPage: docs/customising.md quotes the code as it is in the tree.
func TestCustomisingPage(t *testing.T) {
	page := read(t, filepath.Join(root, "docs", "customising.md"))
	blocks := 0
	for i, part := range strings.Split(page, "```") {
		title, block, _ := strings.Cut(part, "\n")
		if i%2 == 0 {
			continue
		}
		blocks++
		name, ok := strings.CutPrefix(title, "go ")
		if !ok {
			t.Fatalf("a block starts with %q, want go and a file", title)
		}
		if !strings.Contains(read(t, filepath.Join(root, name)), block) {
			t.Errorf("%s does not contain the code that the page quotes:\n%s", name, block)
		}
	}
	if blocks != 4 {
		t.Errorf("%d blocks of code, want 4", blocks)
	}
}
