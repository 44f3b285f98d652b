package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestCopyright: the Debian copyright file contains every module that is linked into
// the program, and no other module.
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
	licences := map[string]int{} // number of occurrences; one is the licence text
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
		t.Errorf("modules of the copyright file\n%q, linked modules\n%q", named, linked)
	}
	for licence, n := range licences {
		if n < 2 {
			t.Errorf("licence %s: either its text or a module under it is missing", licence)
		}
	}
}
