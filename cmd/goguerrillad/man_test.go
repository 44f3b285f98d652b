package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"goguerrillad/internal/stores"
	"goguerrillad/internal/test"
)

// manualPage returns the sections of a manual page by their names.
func manualPage(t *testing.T, name string) map[string]string {
	t.Helper()
	sections := map[string]string{}
	for _, s := range strings.Split(read(t, "../../man/"+name), "\n.Sh ")[1:] {
		title, body, _ := strings.Cut(s, "\n")
		sections[title] = body
	}
	return sections
}

// plain removes the macros of mdoc(7) from a text.
func plain(s string) string {
	s = regexp.MustCompile(`(?m)^\.[A-Z][a-z] `).ReplaceAllString(s, "")
	return regexp.MustCompile(`\s+([.,])`).ReplaceAllString(strings.Join(strings.Fields(s), " "), "$1")
}

// TestConfigPage: goguerrilla.conf(5) has every key with its default, and no other key.
func TestConfigPage(t *testing.T) {
	const migrating = "MIGRATING FROM GO-GUERRILLA OF 2012"
	documented := map[string]string{}
	sections := manualPage(t, "goguerrilla.conf.5")
	for title, body := range sections {
		if title == migrating {
			continue
		}
		for _, part := range strings.Split(body, ".It Ic ")[1:] {
			key, text, _ := strings.Cut(part, "\n")
			if _, duplicate := documented[key]; duplicate {
				t.Errorf("duplicate key %s", key)
			}
			documented[key] = plain(text)
		}
	}
	var names []string
	for _, k := range stores.Keys() {
		names = append(names, k.Name)
		text, ok := documented[k.Name]
		switch {
		case !ok:
			t.Errorf("%s is missing", k.Name)
		case !strings.Contains(text, "Default: ") || !strings.Contains(text, "Default: "+k.Default):
			t.Errorf("%s: the default %q is missing: %s", k.Name, k.Default, text)
		}
		if k.Since2012 && !strings.Contains(plain(sections[migrating]), k.Name) {
			t.Errorf("%s is missing in the section %s", k.Name, migrating)
		}
		if list, ok := strings.CutPrefix(k.Doc, "store: "); ok {
			table, _, _ := strings.Cut(read(t, "../../docs/operating.md"), "## Where to look")
			for _, name := range strings.Split(list, ", ") {
				if !strings.Contains(text, name) {
					t.Errorf("%s: the store %s is missing", k.Name, name)
				}
				if !strings.Contains(strings.ToLower(table), name) {
					t.Errorf("the store %s is missing in the first table of operating.md", name)
				}
			}
		}
		if restart := strings.Contains(text, "needs a restart"); restart != k.Restart {
			t.Errorf("%s: the page states that the key needs a restart: %v, want %v", k.Name, restart, k.Restart)
		}
	}
	for key := range documented {
		if !slices.Contains(names, key) {
			t.Errorf("%s is not a key", key)
		}
	}
}

// TestConfigExamples: -t accepts the examples of goguerrilla.conf(5).
func TestConfigExamples(t *testing.T) {
	blocks := literals(manualPage(t, "goguerrilla.conf.5")["EXAMPLES"])
	if len(blocks) == 0 {
		t.Error("the page has no example")
	}
	for _, block := range blocks {
		file := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if status := run([]string{"-t", "-config", file}, &out, &out); status != exitOK {
			t.Errorf("%s\nexit status %d: %s", block, status, out.String())
		}
	}
}

// literals returns the literal blocks of a section.
func literals(section string) []string {
	var blocks []string
	for _, part := range strings.Split(section, ".Bd -literal -offset indent\n")[1:] {
		block, _, _ := strings.Cut(part, ".Ed")
		blocks = append(blocks, strings.ReplaceAll(block, `\e`, `\`))
	}
	return blocks
}

// TestProgramPage: goguerrillad(8) has every option and exit status of the program.
func TestProgramPage(t *testing.T) {
	sections := manualPage(t, "goguerrillad.8")
	var options, known []string
	for _, m := range regexp.MustCompile(`(?m)^\.It Fl (\w+)`).FindAllStringSubmatch(sections["OPTIONS"], -1) {
		options = append(options, m[1])
	}
	for _, m := range regexp.MustCompile(`\[-(\w+)`).FindAllStringSubmatch(usage, -1) {
		known = append(known, m[1])
	}
	slices.Sort(options)
	slices.Sort(known)
	if !slices.Equal(options, known) {
		t.Errorf("the page has the options %q, the program %q", options, known)
	}
	synopsis := plain(sections["SYNOPSIS"])
	for _, option := range known {
		if !strings.Contains(synopsis, option) {
			t.Errorf("-%s is missing in the synopsis", option)
		}
	}
	var statuses []string
	for _, m := range regexp.MustCompile(`(?m)^\.It (\d+)$`).FindAllStringSubmatch(sections["EXIT STATUS"], -1) {
		statuses = append(statuses, m[1])
	}
	if want := []string{"0", "1", "2", "78"}; !slices.Equal(statuses, want) {
		t.Errorf("exit statuses %q, want %q", statuses, want)
	}
}

// TestDiagnostics: the program has every message that goguerrillad(8) explains.
func TestDiagnostics(t *testing.T) {
	for _, m := range regexp.MustCompile(`(?m)^\.It (.*)$`).FindAllStringSubmatch(manualPage(t, "goguerrillad.8")["DIAGNOSTICS"], -1) {
		if out, err := exec.Command("grep", "-rqF", "--include=*.go", m[1], "../../internal", ".").CombinedOutput(); err != nil {
			t.Errorf("the program has no message %q: %v %s", m[1], err, out)
		}
	}
}

// TestPages: mandoc and man report no warnings about the manual pages.
func TestPages(t *testing.T) {
	if testing.Short() {
		t.Skip("needs mandoc")
	}
	test.Need(t, "mandoc", "man")
	for _, name := range []string{"../../man/goguerrillad.8", "../../man/goguerrilla.conf.5"} {
		out, _ := exec.Command("mandoc", "-Tlint", "-Wstyle", name).Output()
		for line := range strings.Lines(string(out)) {
			// Depends on the manual pages of this machine.
			if !strings.Contains(line, "referenced manual not found") {
				t.Error(line)
			}
		}
		man := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", name)
		man.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
		var warnings strings.Builder
		man.Stderr = &warnings
		if _, err := man.Output(); err != nil || warnings.Len() > 0 {
			t.Errorf("man -l %s: %v\n%s", name, err, warnings.String())
		}
	}
}
