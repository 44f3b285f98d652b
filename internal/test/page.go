package test

import "strings"

// A Page has the configurations in a document that tests use: the fenced blocks, by info
// string. An info string is a language and a title.
type Page map[string]string

// ReadPage reads a file of the directory docs.
func ReadPage(t T, name string) Page {
	t.Helper()
	p := Page{}
	for i, part := range strings.Split(ReadSource(t, "docs/"+name), "```") {
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

// Block returns a block in which the values that a test cannot use, such as ports, are
// replaced. pairs has old and new values; each old value must occur in the block.
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
