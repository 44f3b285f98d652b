package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// small is a program with one mutant for each verdict.
const small = `
-- go.mod --
module small

go 1.26
-- abs.go --
package small

func Abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
-- abs_test.go --
package small

import "testing"

func TestAbs(t *testing.T) {
	t.Run("negative", func(t *testing.T) {
		if Abs(-1) != 1 {
			t.Error("wrong")
		}
	})
}

func TestSkipped(t *testing.T) { t.Skip("no server") }

func TestFails(t *testing.T) { t.Fatal("always") }
-- internal/test/mutants/a/killed.txtar --
what: A.
where: abs.go
test: ./. -run ^TestAbs$/^negative$
==before==
return -n
==after==
return n
-- internal/test/mutants/a/survives.txtar --
what: A.
where: abs.go
test: ./. -run ^TestAbs$
==before==
n < 0
==after==
n <= 0
-- internal/test/mutants/b/does-not-compile.txtar --
what: A.
where: abs.go
test: ./. -run ^TestAbs$
==before==
return -n
==after==
return "n"
-- internal/test/mutants/b/skipped.txtar --
what: A.
where: abs.go
test: ./. -run ^TestSkipped$
==before==
return -n
==after==
return n
-- internal/test/mutants/b/no-subtest.txtar --
what: A.
where: abs.go
test: ./. -run ^TestAbs$/^positive$
==before==
return -n
==after==
return n
-- internal/test/mutants/b/always-fails.txtar --
what: A.
where: abs.go
test: ./. -run ^TestFails$
==before==
return -n
==after==
return n
`

// TestVerdicts checks that only a test that passes without the mutant and fails with
// the mutant kills it.
func TestVerdicts(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a program several times")
	}
	root := t.TempDir()
	for _, f := range txtar.Parse([]byte(small)).Files {
		path := filepath.Join(root, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		content := strings.NewReplacer("==before==", "-- before --", "==after==", "-- after --").Replace(string(f.Data))
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := exec.Command("git", "init", "-q", root)
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	all, err := load(filepath.Join(root, lists))
	if err != nil {
		t.Fatal(err)
	}
	var mutants []*mutant
	for i := range all {
		mutants = append(mutants, &all[i])
	}
	w, err := newWorker(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	base := runBase(t.Context(), []*worker{w}, mutants)
	for _, m := range mutants {
		v := w.try(t.Context(), m, base)
		got := v.line(false)
		want := map[string]string{
			"killed":           "killed .* by TestAbs/negative",
			"survives":         "SURVIVED ",
			"does-not-compile": `ERROR .*cannot use "n"`,
			"skipped":          "ERROR .*skipped: TestSkipped: .*no server",
			"no-subtest":       "ERROR .*no test ran",
			"always-fails":     "ERROR .*TestFails fails without a mutant: .*always",
		}[m.name]
		if !regexp.MustCompile("(?s)^" + want).MatchString(got) {
			t.Errorf("%s: %q, want %q", m.name, got, want)
		}
	}
	for _, name := range []string{"abs.go", "abs_test.go"} {
		before, _ := os.ReadFile(filepath.Join(root, name))
		after, err := os.ReadFile(filepath.Join(w.tree(), name))
		if err != nil || string(after) != string(before) {
			t.Errorf("%s was not restored: %v", name, err)
		}
	}
	if err := run(t.Context(), root, regexp.MustCompile("^killed$"), 2, false); err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), root, regexp.MustCompile("^(killed|survives)$"), 1, false); err == nil {
		t.Error("run with a mutant that survives: no error")
	}
}

func TestExamine(t *testing.T) {
	for _, tt := range []struct {
		name, out string
		depth     int
		want      outcome
	}{
		{"passes", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", 0, outcome{passed: true}},
		{"subtest passes", "--- PASS: TestA (0.00s)\n    --- PASS: TestA/b (0.00s)\nPASS\n", 1, outcome{passed: true}},
		{"no inner subtest", "--- PASS: TestA (0.00s)\n    --- PASS: TestA/b (0.00s)\nPASS\n", 2, outcome{}},
		{"fails", "=== RUN   TestA\n=== RUN   TestA/b\n    a_test.go:7: bad\n--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\nFAIL\n", 1,
			outcome{by: "TestA/b", reason: "a_test.go:7: bad"}},
		{"skips", "=== RUN   TestA\n    a_test.go:7: no server\n--- SKIP: TestA (0.00s)\nPASS\n", 0, outcome{skipped: "TestA: no server", reason: "a_test.go:7: no server"}},
		{"hangs", "=== RUN   TestA\npanic: test timed out after 1s\n\trunning tests:\n\t\tTestA (1s)\n\ngoroutine 1", 0, outcome{by: "TestA (hangs)"}},
		{"panics", "=== RUN   TestA\npanic: oh\n\ngoroutine 1", 0, outcome{by: "a panic", reason: "panic: oh"}},
	} {
		if got := examine(tt.out, tt.depth); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
