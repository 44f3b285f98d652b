package test

import (
	"os"
	"path/filepath"
	"strings"
)

// A Page is a document whose configurations are run by tests: fenced blocks,
// by what stands behind the fence, a language and a title.
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
			t.Fatalf("%s: two blocks are %q", name, title)
		}
		p[title] = block
	}
	return p
}

// Block returns a block with what cannot be as it stands on the machine of a
// test, such as ports, replaced: pairs of old and new, each of which must
// occur.
func (p Page) Block(t T, title string, pairs ...string) string {
	t.Helper()
	block, ok := p[title]
	if !ok {
		t.Fatalf("no block is %q", title)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(block, pairs[i]) {
			t.Fatalf("block %q has no %q", title, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(block)
}
