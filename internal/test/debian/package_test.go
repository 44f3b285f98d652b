package debian

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

// moduleRoot returns the directory of the checkout.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := test.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// built returns the paths of the two versions of the package. It skips the test if a tool is
// missing.
func built(t *testing.T, tools ...string) [2]string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds packages")
	}
	test.Need(t, append(tools, "dpkg-buildpackage", "dh")...)
	debs, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	return debs
}

// TestLintian: lintian reports only tags that the package overrides.
func TestLintian(t *testing.T) {
	deb := built(t, "lintian")[0]
	out, err := exec.Command("lintian", "--allow-root", "--display-info", "--pedantic", "--fail-on", "error,warning,info,pedantic", deb).CombinedOutput()
	if err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}

// TestReproducible: a copy of the tree in another directory, with other file times, results
// in the same package, byte for byte.
func TestReproducible(t *testing.T) {
	deb := built(t)[0]
	want, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	root := moduleRoot(t)
	version, err := exec.Command("dpkg-deb", "--show", "--showformat=${Version}", deb).Output()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Mkdir(copied, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cmd", "docs", "internal", "man", "packaging", "go.mod", "go.sum", "Makefile",
		"goguerrilla.conf.sample", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"} {
		// cp without -p does not copy the times of the files.
		if out, err := exec.Command("cp", "-r", filepath.Join(root, name), copied).CombinedOutput(); err != nil {
			t.Fatalf("copy %s: %v\n%s", name, err, out)
		}
	}
	date, commit := git(root, "log", "-1", "--format=%ct"), git(root, "rev-parse", "--short=12", "HEAD")
	cmd := exec.Command("make", "deb", "VERSION="+string(version), "COMMIT="+commit)
	cmd.Dir = copied
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+date)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	got, err := os.ReadFile(filepath.Join(copied, "build", filepath.Base(deb)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the package of %d bytes differs from the first package of %d bytes", len(got), len(want))
	}
}

// TestLinks: the links between the pages in the package lead to files and headings in it.
func TestLinks(t *testing.T) {
	root := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "--extract", built(t)[0], root).CombinedOutput(); err != nil {
		t.Fatalf("extract the package: %v\n%s", err, out)
	}
	link := regexp.MustCompile(`\]\(([^):#]*)(?:#([^)]*))?\)`) // not to other sites
	pages := 0
	err := filepath.WalkDir(filepath.Join(root, "usr/share/doc/goguerrillad"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) != ".md" {
			return err
		}
		pages++
		for _, to := range link.FindAllStringSubmatch(readFile(t, path), -1) {
			target := path
			if to[1] != "" {
				target = filepath.Join(filepath.Dir(path), to[1])
			}
			if text := readFile(t, target); to[2] != "" && !slices.Contains(anchors(text), to[2]) {
				t.Errorf("%s: %s has no heading %s", filepath.Base(path), filepath.Base(target), to[2])
			}
		}
		return nil
	})
	if err != nil || pages < 10 {
		t.Errorf("%d pages, %v, want the pages of docs", pages, err)
	}
}

// anchors returns the names by which links lead to the headings of a page.
func anchors(page string) (names []string) {
	for line := range strings.Lines(page) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			name := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(heading)), " ", "-")
			names = append(names, regexp.MustCompile(`[^\pL\pN_-]`).ReplaceAllString(name, ""))
		}
	}
	return names
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// git returns the output of a git command, or "" outside a repository.
func git(dir string, args ...string) string {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, _ := cmd.Output()
	return strings.TrimSpace(string(out))
}

// TestARM64: the program in the package for arm64 runs.
func TestARM64(t *testing.T) {
	built(t, "qemu-aarch64-static")
	cmd := exec.Command("make", "deb", "VERSION=1.0~test1", "DEB_ARCH=arm64")
	cmd.Dir = moduleRoot(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	dir := t.TempDir()
	deb := filepath.Join(cmd.Dir, "build", "goguerrillad_1.0~test1_arm64.deb")
	if out, err := exec.Command("dpkg-deb", "--extract", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("extract the package: %v\n%s", err, out)
	}
	run := func(args ...string) string {
		out, err := exec.Command("qemu-aarch64-static", append([]string{filepath.Join(dir, "usr/sbin/goguerrillad")}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("qemu-aarch64-static %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := run("-version"); !strings.HasPrefix(got, "goguerrillad 1.0~test1 (commit ") {
		t.Errorf("-version: %s", got)
	}
	if got := run("-t", "-config", filepath.Join(dir, "etc/goguerrilla/goguerrilla.conf")); !strings.Contains(got, "configuration is valid: ") {
		t.Errorf("-t: %s", got)
	}
}

// TestUnits: systemd-analyze rates the exposure of the installed units as low.
func TestUnits(t *testing.T) {
	deb := built(t, "systemd-analyze")[0]
	root := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "--extract", deb, root).CombinedOutput(); err != nil {
		t.Fatalf("extract the package: %v\n%s", err, out)
	}
	units := filepath.Join(root, "usr/lib/systemd/system")
	for _, c := range []struct {
		dropIn string
		limit  float64
	}{{"", 1.1}, {"isolated.conf", 0.2}} {
		args := []string{"security", "--offline=true", "--no-pager", "--root=" + root, service}
		if c.dropIn != "" {
			dir := filepath.Join(units, service+".d")
			text, err := os.ReadFile(filepath.Join(root, "usr/share/doc/goguerrillad/examples", c.dropIn))
			if err == nil {
				err = os.MkdirAll(dir, 0o755)
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, c.dropIn), text, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("systemd-analyze: %v\n%s", err, out)
		}
		_, level, ok := strings.Cut(string(out), "Overall exposure level for "+service+": ")
		if !ok {
			t.Fatalf("systemd-analyze printed no exposure level: %s", out)
		}
		got, err := strconv.ParseFloat(strings.Fields(level)[0], 64)
		if err != nil || got > c.limit {
			t.Errorf("drop-in %q: exposure %v, %v, want at most %v", c.dropIn, got, err, c.limit)
		}
		t.Logf("drop-in %q: exposure %v", c.dropIn, got)
	}
}

// TestMakeInstall: `make install` installs the files below DESTDIR and prefix and keeps an
// existing configuration. `make uninstall` leaves only the configuration.
func TestMakeInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	dir := t.TempDir()
	run := func(target string) {
		t.Helper()
		cmd := exec.Command("make", target, "DESTDIR="+dir, "prefix=/opt/gg")
		cmd.Dir = moduleRoot(t)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
	}
	files := func() (list []string) {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				list = append(list, strings.TrimPrefix(path, dir))
			}
			return err
		})
		return list
	}
	run("install")
	want := []string{
		configFile, "/opt/gg/lib/systemd/system/" + service, "/opt/gg/lib/systemd/system/" + socket,
		"/opt/gg/lib/sysusers.d/goguerrillad.conf", "/opt/gg/lib/tmpfiles.d/goguerrillad.conf", "/opt/gg/sbin/goguerrillad",
		"/opt/gg/share/man/man5/goguerrilla.conf.5", "/opt/gg/share/man/man8/goguerrillad.8",
	}
	if got := files(); !slices.Equal(got, want) {
		t.Errorf("installed files\n%q, want\n%q", got, want)
	}
	unit, err := os.ReadFile(filepath.Join(dir, "/opt/gg/lib/systemd/system", service))
	if err != nil || strings.Contains(string(unit), "/usr/sbin") || !strings.Contains(string(unit), "ExecStart=/opt/gg/sbin/goguerrillad") {
		t.Errorf("the unit does not start /opt/gg/sbin/goguerrillad: %v\n%s", err, unit)
	}
	existing := filepath.Join(dir, configFile)
	if err := os.WriteFile(existing, []byte("existing"), 0o640); err != nil {
		t.Fatal(err)
	}
	run("install")
	if text, err := os.ReadFile(existing); string(text) != "existing" {
		t.Errorf("the installation changed the configuration to %q, %v", text, err)
	}
	run("uninstall")
	if got := files(); !slices.Equal(got, []string{configFile}) {
		t.Errorf("make uninstall left %q, want only %s", got, configFile)
	}
}
