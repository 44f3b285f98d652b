package test

import (
	"os"
	"path/filepath"
	"strings"
)

// A Page is a document whose configurations are run by tests: the fenced blocks by
// their info string, which is a language and a title.
type Page map[string]string

// ReadPage reads a file of the directory docs.
func ReadPage(t T, name string) Page {
	t.Helper()
	root, err := ModuleRoot()
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", name))
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	p := Page{}
	for i, part := range strings.Split(string(text), "```") {
		title, block, _ := strings.Cut(part, "\n")
		if i%2 == 0 || title == "" {
			continue
		}
		if p[title] != "" {
			t.Fatalf("%s: two blocks have the title %q", name, title)
		}
		p[title] = block
	}
	return p
}

// Block returns a block with replacements of values, such as ports, that a test cannot
// use: pairs of old and new; each old value must occur.
func (p Page) Block(t T, title string, pairs ...string) string {
	t.Helper()
	block, ok := p[title]
	if !ok {
		t.Fatalf("no block has the title %q", title)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(block, pairs[i]) {
			t.Fatalf("block %q does not contain %q", title, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(block)
}
