package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// architecture returns the text of ARCHITECTURE.md.
func architecture(t *testing.T) string {
	t.Helper()
	return read(t, filepath.Join(root, "ARCHITECTURE.md"))
}

// goFiles returns the Go files of the tree, relative to its root.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if err == nil && strings.HasSuffix(path, ".go") {
				files = append(files, strings.TrimPrefix(filepath.ToSlash(path), root+"/"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestImports: ARCHITECTURE.md lists all imports between the packages of the product. A
// package is above all packages that it imports, so there is no cycle.
func TestImports(t *testing.T) {
	actual := map[string][]string{}
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "internal/test/") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		name := short(filepath.ToSlash(filepath.Dir(file)))
		actual[name] = slices.Clip(actual[name]) // also a package that imports nothing
		for _, i := range f.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			if path, ours := strings.CutPrefix(path, "goguerrillad/"); ours && !slices.Contains(actual[name], short(path)) {
				actual[name] = append(actual[name], short(path))
			}
		}
	}
	_, block, _ := strings.Cut(architecture(t), "```imports\n")
	block, _, _ = strings.Cut(block, "```")
	var above []string
	for line := range strings.Lines(block) {
		name, list, _ := strings.Cut(strings.TrimSpace(line), ":")
		imports := strings.Fields(list)
		want, ok := actual[name]
		slices.Sort(want)
		if !ok || !slices.Equal(imports, want) {
			t.Errorf("%s: the page lists the imports %q, the code has %q", name, imports, want)
		}
		for _, i := range imports {
			if slices.Contains(above, i) {
				t.Errorf("%s imports %s, which is above it", name, i)
			}
		}
		above = append(above, name)
	}
	for name, imports := range actual {
		if !slices.Contains(above, name) {
			t.Errorf("the page lacks %q", fmt.Sprint(name, ": ", strings.Join(imports, " ")))
		}
	}
}

// short returns the name of a package on the page.
func short(path string) string { return strings.TrimPrefix(path, "internal/") }

// TestArchitectureNames: the files, tests and identifiers that ARCHITECTURE.md
// names exist.
func TestArchitectureNames(t *testing.T) {
	files := goFiles(t)
	var product, tests strings.Builder
	for _, file := range files {
		text := read(t, filepath.Join(root, file))
		if strings.HasSuffix(file, "_test.go") {
			tests.WriteString(text)
		} else {
			product.WriteString(text)
		}
	}
	identifier := regexp.MustCompile(`^[A-Za-z]+(\.[A-Za-z]+)+$`)
	for i, name := range strings.Split(architecture(t), "`") {
		if i%2 == 0 || strings.HasPrefix(name, "-") || strings.ContainsAny(name, " \n") || name == "" {
			continue
		}
		found := true
		switch {
		case strings.HasSuffix(name, ".go"):
			found = slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix("/"+f, "/"+name) })
		case strings.HasPrefix(name, "Test"), strings.HasPrefix(name, "Fuzz"):
			found = strings.Contains(tests.String(), "func "+name)
		case strings.Contains(name, "/"):
			_, err := os.Stat(filepath.Join(root, name))
			found = err == nil
		case identifier.MatchString(name):
			parts := strings.Split(name, ".")
			found = regexp.MustCompile(`\b` + parts[len(parts)-1] + `\b`).MatchString(product.String())
		}
		if !found {
			t.Errorf("there is no %s", name)
		}
	}
}
