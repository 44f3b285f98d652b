package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	tests := map[string]map[string][]string{} // testsIn, by directory
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

// testsIn returns the test functions of a package, for all build tags, each with the
// strings in it and in storetest.Run if it calls that. The name of a subtest must be one
// of these strings.
func testsIn(t *testing.T, dir string) map[string][]string {
	t.Helper()
	tests := map[string][]string{}
	for _, f := range functions(t, filepath.Join(dir, "*_test.go")) {
		if !strings.HasPrefix(f.Name.Name, "Test") {
			continue
		}
		names, suite := stringsIn(f)
		if suite {
			for _, f := range functions(t, "internal/test/storetest/storetest.go") {
				if f.Name.Name == "Run" {
					inSuite, _ := stringsIn(f)
					names = append(names, inSuite...)
				}
			}
		}
		tests[f.Name.Name] = append(tests[f.Name.Name], names...)
	}
	return tests
}

// functions returns the functions in the files that match a pattern, without methods.
func functions(t *testing.T, pattern string) (all []*ast.FuncDecl) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s: %v", pattern, err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil {
				all = append(all, d)
			}
		}
	}
	return all
}

// stringsIn returns the strings in a function, as package testing writes them in names,
// and whether the function calls storetest.Run.
func stringsIn(f *ast.FuncDecl) (names []string, suite bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
				names = append(names, strings.ReplaceAll(text, " ", "_"))
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			suite = suite || ok && x.Name == "storetest" && n.Sel.Name == "Run"
		}
		return true
	})
	return names, suite
}

// matches reports whether a test matches the first element of an expression, and strings
// in the test match its other elements.
func matches(tests map[string][]string, expr string) bool {
	elements := strings.Split(expr, "/")
	for name, inTest := range tests {
		found := regexp.MustCompile(elements[0]).MatchString(name)
		for _, e := range elements[1:] {
			found = found && slices.ContainsFunc(inTest, regexp.MustCompile(e).MatchString)
		}
		if found {
			return true
		}
	}
	return false
}

func TestMatches(t *testing.T) {
	tests := map[string][]string{"TestX": {"lost_COMMIT", "one"}, "TestY": {"two"}}
	for expr, want := range map[string]bool{
		"^TestX$": true, "^TestX$/^lost_COMMIT$": true, "^TestX$/^lost_COMMIT$/^one$": true,
		"^Test$": false, "^TestX$/^lost$": false, "^TestX$/^one$/^three$": false, "^TestX$/^two$": false,
	} {
		if got := matches(tests, expr); got != want {
			t.Errorf("matches(%q) = %v, want %v", expr, got, want)
		}
	}
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
		{"two-tests", "^TestX$", "^(TestX|TestY)$", "a line test for each"},
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
