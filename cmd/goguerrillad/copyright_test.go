package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The package's copyright file names every module that is linked into the
// program, and no other.
func TestCopyright(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(out))
	slices.Sort(linked)
	linked = slices.Compact(linked)

	text, err := os.ReadFile("../../packaging/deb/copyright")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	licences := map[string]int{} // how often each is spoken of: its text alone is once
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if module, ok := strings.CutPrefix(line, "Files: "); ok && strings.Contains(module, "/") {
			named = append(named, module)
		}
		if licence, ok := strings.CutPrefix(line, "License: "); ok {
			for l := range strings.SplitSeq(licence, " and ") {
				licences[l]++
			}
		}
	}
	if !slices.Equal(named, linked) {
		t.Errorf("the copyright file names\n%q, linked are\n%q", named, linked)
	}
	for licence, n := range licences {
		if n < 2 {
			t.Errorf("%s is named without its text, or the other way round", licence)
		}
	}
}
