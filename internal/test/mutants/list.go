package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// A mutant is one change that breaks a promise of the program, with the tests that must
// fail because of it. Its file is a txtar archive:
//
//	what: One sentence that states what breaks.
//	where: internal/commit/save.go
//	test: ./internal/commit -run ^TestOutcomes$
//	-- before --
//	p.done(errs[i])
//	-- after --
//	p.done(nil)
//
// The text in before must occur once in the file. The final newlines of both texts do
// not count, so a text may be a part of a line. There may be several lines test; their
// tests run in that order until one fails. A line test has environment variables
// (NAME=VALUE), flags of go test (-race, -short, -tags TAGS), the package, and
// -run EXPRESSION without alternatives.
type mutant struct {
	name          string // of the file, without its suffix
	what          string
	where         string // path of the mutated file, relative to the root of the tree
	tests         []command
	before, after string
}

// A command runs tests of one package.
type command struct {
	text  string // in the file; it identifies the command
	env   []string
	build []string // flags of go test that the compiler needs
	flags []string // flags of the compiled test
	dir   string   // of the package, relative to the root of the tree
	run   string
}

var nameFormat = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// load reads all mutants below a directory, ordered by path.
func load(dir string) ([]mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*.txtar"))
	if err != nil {
		return nil, err
	}
	var all []mutant
	paths = slices.Sorted(slices.Values(paths))
	seen := map[string]bool{}
	for _, path := range paths {
		m, err := read(path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if seen[m.name] {
			return nil, fmt.Errorf("read %s: another mutant has this name", path)
		}
		seen[m.name] = true
		all = append(all, m)
	}
	return all, nil
}

func read(path string) (mutant, error) {
	m := mutant{name: strings.TrimSuffix(filepath.Base(path), ".txtar")}
	if !nameFormat.MatchString(m.name) {
		return m, errors.New("the name must consist of lower-case words and hyphens")
	}
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case key == "what" && m.what == "":
			m.what = value
		case key == "where" && m.where == "":
			m.where = value
		case key == "test":
			c, err := parseCommand(value)
			if err != nil {
				return m, fmt.Errorf("%q: %w", value, err)
			}
			m.tests = append(m.tests, c)
		default:
			return m, fmt.Errorf("unexpected line %q", line)
		}
	}
	if m.what == "" || m.where == "" || m.tests == nil {
		return m, errors.New("what, where and test are required")
	}
	if len(archive.Files) != 2 || archive.Files[0].Name != "before" || archive.Files[1].Name != "after" {
		return m, errors.New("want the sections before and after")
	}
	m.before = strings.TrimSuffix(string(archive.Files[0].Data), "\n")
	m.after = strings.TrimSuffix(string(archive.Files[1].Data), "\n")
	if m.before == "" || m.before == m.after {
		return m, errors.New("before must not be empty or equal to after")
	}
	return m, nil
}

func parseCommand(text string) (command, error) {
	c := command{text: text}
	words := strings.Fields(text)
	value := func() string { // of a flag
		if len(words) < 2 {
			return ""
		}
		words = words[1:]
		return words[0]
	}
	for ; len(words) > 0; words = words[1:] {
		switch word := words[0]; {
		case word == "-race":
			c.build = append(c.build, word)
		case word == "-tags":
			c.build = append(c.build, "-tags="+value())
		case word == "-short":
			c.flags = append(c.flags, "-test.short")
		case word == "-run":
			c.run = value()
		case strings.HasPrefix(word, "./") && c.dir == "":
			c.dir = filepath.Clean(word)
		case strings.Contains(word, "=") && !strings.HasPrefix(word, "-"):
			c.env = append(c.env, word)
		default:
			return c, fmt.Errorf("unexpected word %q", word)
		}
	}
	if c.dir == "" || c.run == "" {
		return c, errors.New("a package and -run are required")
	}
	if _, err := regexp.Compile(c.run); err != nil {
		return c, err
	}
	if strings.Contains(c.run, "|") {
		return c, errors.New("-run has alternatives, want a line test for each")
	}
	c.flags = append(c.flags, "-test.run="+c.run)
	return c, nil
}

// apply returns the mutated source.
func (m *mutant) apply(source []byte) ([]byte, error) {
	if n := bytes.Count(source, []byte(m.before)); n != 1 {
		return nil, fmt.Errorf("the text before the change occurs %d times in %s", n, m.where)
	}
	return bytes.Replace(source, []byte(m.before), []byte(m.after), 1), nil
}

// change mutates the file in a tree; restore undoes the change.
func (m *mutant) change(tree string) (restore func() error, err error) {
	path := filepath.Join(tree, m.where)
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	mutated, err := m.apply(source)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, mutated, 0o644); err != nil {
		return nil, err
	}
	return func() error { return os.WriteFile(path, source, 0o644) }, nil
}
