package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// everyTest is the expression of a command that runs all tests of a package, some
// of which may be skipped.
const everyTest = "."

// random returns all mutants of a package in a random order that depends on the seed.
// Some of them do not compile. The tests of each mutant are all tests of the packages in
// tests.
func random(root, dir string, tests []string, seed uint64) ([]*mutant, error) {
	pkg, err := build.ImportDir(filepath.Join(root, dir), 0)
	if err != nil {
		return nil, err
	}
	var commands []command
	for _, test := range tests {
		c, err := parseCommand("./" + test + " -run " + everyTest)
		if err != nil {
			return nil, err
		}
		commands = append(commands, c)
	}
	var all []*mutant
	for _, name := range pkg.GoFiles {
		inFile, err := mutations(root, filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		all = append(all, inFile...)
	}
	for _, m := range all {
		m.tests = commands
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// mutations returns all mutations of a file.
func mutations(root, where string) ([]*mutant, error) {
	source, err := os.ReadFile(filepath.Join(root, where))
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, where, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var all []*mutant
	ast.Inspect(file, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.ImportSpec:
			return false
		case nil:
			return true
		}
		for _, e := range edits(n) {
			at, end := set.Position(e.from), set.Position(e.to)
			old := string(source[at.Offset:end.Offset])
			m := &mutant{
				name:  fmt.Sprintf("%s:%d:%d", where, at.Line, at.Column),
				what:  e.what,
				where: where,
			}
			m.before, m.after = unique(source, at.Offset, end.Offset, e.text(old))
			all = append(all, m)
		}
		return true
	})
	return all, nil
}

// An edit replaces a part of a file.
type edit struct {
	what     string
	from, to token.Pos
	text     func(old string) string
}

func replaced(by string) func(string) string { return func(string) string { return by } }

// swapped are the operators that replace each other.
var swapped = map[token.Token]token.Token{
	token.EQL: token.NEQ, token.NEQ: token.EQL, token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.LAND: token.LOR, token.LOR: token.LAND,
}

// edits returns the mutations of a node, without those of its children.
func edits(n ast.Node) (all []edit) {
	add := func(what string, from, to token.Pos, text func(string) string) {
		all = append(all, edit{what, from, to, text})
	}
	switch n := n.(type) {
	case *ast.IfStmt:
		add("condition negated", n.Cond.Pos(), n.Cond.End(), func(old string) string { return "!(" + old + ")" })
		if last := len(n.Body.List) - 1; last >= 0 {
			if r, ok := n.Body.List[last].(*ast.ReturnStmt); ok && len(r.Results) == 0 {
				add("early return removed", r.Pos(), r.End(), replaced(""))
			}
		}
	case *ast.BinaryExpr:
		if other, ok := swapped[n.Op]; ok {
			add(n.Op.String()+" became "+other.String(), n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), replaced(other.String()))
		}
	case *ast.BasicLit:
		if v, err := strconv.ParseInt(n.Value, 0, 64); n.Kind == token.INT && err == nil {
			add("number grew by one", n.Pos(), n.End(), replaced(strconv.FormatInt(v+1, 10)))
		}
	case *ast.ExprStmt:
		if _, ok := n.X.(*ast.CallExpr); ok {
			add("call removed", n.Pos(), n.End(), replaced(""))
		}
	case *ast.DeferStmt:
		add("defer removed", n.Pos(), n.End(), replaced(""))
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			add("assignment removed", n.Pos(), n.End(), replaced(""))
		}
	case *ast.ForStmt:
		add("loop skipped", n.Body.Lbrace, n.Body.Lbrace+1, replaced("{ break;"))
	case *ast.RangeStmt:
		add("loop skipped", n.Body.Lbrace, n.Body.Lbrace+1, replaced("{ break;"))
	case *ast.ReturnStmt:
		if last := len(n.Results) - 1; last >= 0 && isError(n.Results[last]) {
			add("error became nil", n.Results[last].Pos(), n.Results[last].End(), replaced("nil"))
		}
	}
	return all
}

// isError reports whether an expression looks like an error.
func isError(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "err" || strings.HasPrefix(e.Name, "err") || strings.HasPrefix(e.Name, "Err")
	case *ast.SelectorExpr:
		return strings.HasPrefix(e.Sel.Name, "Err")
	case *ast.CallExpr:
		if s, ok := e.Fun.(*ast.SelectorExpr); ok {
			x, _ := s.X.(*ast.Ident)
			return x != nil && (x.Name == "errors" || x.Name == "fmt" && s.Sel.Name == "Errorf")
		}
	}
	return false
}

// unique returns the text that an edit changes and the new text. Both include enough
// lines of context that before occurs once in the file.
func unique(source []byte, from, to int, text string) (before, after string) {
	start, end := from, to
	for {
		start = bytes.LastIndexByte(source[:max(start-1, 0)], '\n') + 1
		if i := bytes.IndexByte(source[min(end+1, len(source)):], '\n'); i >= 0 {
			end += 1 + i
		} else {
			end = len(source)
		}
		before = string(source[start:end])
		if bytes.Count(source, []byte(before)) == 1 {
			return before, string(source[start:from]) + text + string(source[to:end])
		}
	}
}

// packages returns the directories of a comma list.
func packages(list string) []string {
	var dirs []string
	for dir := range strings.SplitSeq(list, ",") {
		if dir = strings.Trim(strings.TrimPrefix(strings.TrimSpace(dir), "./"), "/"); dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
