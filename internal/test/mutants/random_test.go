package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const mutable = `package p

import "errors"

func f(n int, ch chan int) error {
	if n < 3 && n != 1 {
		return errors.New("few")
	}
	for range n {
		n = 2
		g(n)
	}
	return nil
}

func g(n int) {
	defer close(nil)
	if n == 0 {
		return
	}
	g(n)
}
`

// TestMutations checks that mutations finds each possible change, and that apply makes
// the change at the right place although the same text occurs elsewhere.
func TestMutations(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "p.go"), []byte(mutable), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := mutations(root, "p.go")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range all {
		mutated, err := m.apply([]byte(mutable))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		for i, line := range strings.Split(string(mutated), "\n") {
			if old := strings.Split(mutable, "\n")[i]; line != old {
				got = append(got, m.what+": "+strings.TrimSpace(line))
			}
		}
	}
	slices.Sort(got)
	want := []string{
		"!= became ==: if n < 3 && n == 1 {",
		"&& became ||: if n < 3 || n != 1 {",
		"< became <=: if n <= 3 && n != 1 {",
		"== became !=: if n != 0 {",
		"assignment removed:",
		"call removed:",
		"call removed:",
		"condition negated: if !(n < 3 && n != 1) {",
		"condition negated: if !(n == 0) {",
		"defer removed:",
		"early return removed:",
		`error became nil: return nil`,
		"loop skipped: for range n { break;",
		"number grew by one: if n < 3 && n != 2 {",
		"number grew by one: if n < 4 && n != 1 {",
		"number grew by one: if n == 1 {",
		"number grew by one: n = 3",
	}
	for i := range got {
		got[i] = strings.TrimSpace(got[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRandom checks that the order depends only on the seed.
func TestRandom(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a.go", "b.go"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(mutable), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	order := func(seed uint64) (names []string) {
		all, err := random(root, ".", []string{"p"}, seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			names = append(names, m.name+m.what)
		}
		return names
	}
	one, two := order(1), order(2)
	if len(one) != 2*17 || !slices.Equal(one, order(1)) || slices.Equal(one, two) {
		t.Errorf("the orders have %d and %d mutants, want 34; or they do not depend only on the seed", len(one), len(two))
	}
	slices.Sort(one)
	slices.Sort(two)
	if !slices.Equal(one, two) || len(slices.Compact(one)) != 2*17 {
		t.Error("the orders do not have the same mutants")
	}
}
