package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCustomisingPage: the code on the page is that of the tree.
func TestCustomisingPage(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "customising.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for i, part := range strings.Split(string(page), "```") {
		title, block, _ := strings.Cut(part, "\n")
		if i%2 == 0 {
			continue
		}
		blocks++
		name, ok := strings.CutPrefix(title, "go ")
		if !ok {
			t.Fatalf("a block is %q", title)
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), block) {
			t.Errorf("%s is no longer what the page has of it", name)
		}
	}
	if blocks != 4 {
		t.Errorf("%d blocks", blocks)
	}
}
