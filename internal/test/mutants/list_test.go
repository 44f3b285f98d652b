package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const top = "../../.." // root of the tree

// TestList checks that each mutant can be applied to the current source, and that its
// tests exist.
func TestList(t *testing.T) {
	all, err := load(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 30 {
		t.Errorf("%d mutants, want at least 30", len(all))
	}
	tests := map[string][]string{} // by directory
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			if !strings.HasSuffix(m.what, ".") || strings.Contains(m.what, ". ") {
				t.Errorf("the line what is %q, want one sentence", m.what)
			}
			source, err := os.ReadFile(filepath.Join(top, m.where))
			if err != nil {
				t.Fatal(err)
			}
			mutated, err := m.apply(source)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), m.where, mutated, parser.SkipObjectResolution); err != nil {
				t.Errorf("the changed file does not parse: %v", err)
			}
			for _, c := range m.tests {
				if tests[c.dir] == nil {
					tests[c.dir] = testsIn(t, c.dir)
				}
				if !matches(tests[c.dir], c.run) {
					t.Errorf("no test of %s matches %q", c.dir, c.run)
				}
			}
		})
	}
}

// testsIn returns the test functions of a package, for all build tags.
func testsIn(t *testing.T, dir string) (tests []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", dir, err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && strings.HasPrefix(d.Name.Name, "Test") {
				tests = append(tests, d.Name.Name)
			}
		}
	}
	return tests
}

// matches reports whether the first element of an expression matches a test.
func matches(tests []string, expr string) bool {
	first, _, _ := strings.Cut(expr, "/")
	match := regexp.MustCompile(first)
	for _, name := range tests {
		if match.MatchString(name) {
			return true
		}
	}
	return false
}

// TestFormat checks that a file with a wrong format is an error.
func TestFormat(t *testing.T) {
	const good = "what: It breaks.\nwhere: a.go\ntest: A=b -race -tags x ./p -short -run ^TestX$\n-- before --\nx\n-- after --\n"
	for _, tt := range []struct{ name, replace, by, want string }{
		{"good", "", "", ""},
		{"Good", "", "", "lower-case"},
		{"no-what", "what: It breaks.\n", "", "are required"},
		{"no-test", "test: ", "text: ", "unexpected line"},
		{"twice", "where: a.go\n", "where: a.go\nwhere: b.go\n", "unexpected line"},
		{"no-run", " -run ^TestX$", "", "a package and -run"},
		{"no-package", " ./p", "", "a package and -run"},
		{"bad-run", "^TestX$", "(", "missing closing"},
		{"bad-flag", "-race", "-v", `unexpected word "-v"`},
		{"no-after", "-- after --\n", "", "sections"},
		{"nothing-before", "x\n-- after", "-- after", "must not be empty"},
		{"no-change", "-- after --\n", "-- after --\nx\n", "equal to after"},
	} {
		path := filepath.Join(t.TempDir(), tt.name+".txtar")
		if err := os.WriteFile(path, []byte(strings.Replace(good, tt.replace, tt.by, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := read(path)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		c := m.tests[0]
		if c.dir != "p" || strings.Join(c.env, " ") != "A=b" || strings.Join(c.build, " ") != "-race -tags=x" ||
			strings.Join(c.flags, " ") != "-test.short -test.run=^TestX$" {
			t.Errorf("wrong command %+v", c)
		}
	}
	m := mutant{before: "x", after: "y"}
	for _, source := range []string{"", "xx"} {
		if _, err := m.apply([]byte(source)); err == nil {
			t.Errorf("apply to %q: no error", source)
		}
	}
	if got, err := m.apply([]byte("axb")); err != nil || string(got) != "ayb" {
		t.Errorf("apply returned %q, %v, want \"ayb\"", got, err)
	}
}
