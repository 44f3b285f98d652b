package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOperatingPage: docs/operating.md explains every warning and error of the log, and
// every alert.
func TestOperatingPage(t *testing.T) {
	page := read(t, "../../docs/operating.md")
	warning := regexp.MustCompile(`(?:\b[Ll]og(?:ger)?\.(?:Warn|Error)|\bs\.warn|\bs\.warnOnce\([^\n]*?,|\.log\(slog\.LevelWarn,|logMessage\(slog\.LevelWarn,)\(?\s*"([^"]+)"`)
	found := 0
	for _, dir := range []string{".", "../../internal"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name := filepath.Base(path)
			if d.IsDir() && (name == "test" || name == "testdata") {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			for _, m := range warning.FindAllStringSubmatch(read(t, path), -1) {
				found++
				if !strings.Contains(page, m[1]) {
					t.Errorf("%s: the page does not explain %q", path, m[1])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, "../../packaging/prometheus/alerts.yml"), -1)
	for _, alert := range alerts {
		if !strings.Contains(page, "| "+alert[1]+" |") {
			t.Errorf("the page does not explain the alert %s", alert[1])
		}
	}
	if found < 30 || len(alerts) < 5 {
		t.Errorf("found %d messages and %d alerts, want at least 30 and 5", found, len(alerts))
	}
}

// read returns the text of a file.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
