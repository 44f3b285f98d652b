package debian

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

// moduleRoot is the checkout.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := test.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// built returns the paths of the two versions of the package.
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

// TestLintian: it has nothing to say but what is overridden, with a reason.
func TestLintian(t *testing.T) {
	deb := built(t, "lintian")[0]
	out, err := exec.Command("lintian", "--allow-root", "--display-info", "--pedantic", "--fail-on", "error,warning,info,pedantic", deb).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestReproducible: the same tree makes the same package, byte for byte, in
// another place and at another time.
func TestReproducible(t *testing.T) {
	deb := built(t)[0]
	want, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	root := moduleRoot(t)
	epoch, err := exec.Command("dpkg-deb", "--show", "--showformat=${Version}", deb).Output()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Mkdir(copied, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cmd", "docs", "internal", "man", "packaging", "go.mod", "go.sum", "Makefile",
		"goguerrilla.conf.sample", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE"} {
		// Without the times of the files.
		if out, err := exec.Command("cp", "-r", filepath.Join(root, name), copied).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	date, commit := gitSays(root, "log", "-1", "--format=%ct"), gitSays(root, "rev-parse", "--short=12", "HEAD")
	cmd := exec.Command("make", "deb", "VERSION="+string(epoch), "COMMIT="+commit)
	cmd.Dir = copied
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+date)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(copied, "build", filepath.Base(deb)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes, and then others: %d", len(want), len(got))
	}
}

func gitSays(dir string, args ...string) string {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, _ := cmd.Output()
	return strings.TrimSpace(string(out))
}

// TestARM64: the package of another architecture has a program that runs.
func TestARM64(t *testing.T) {
	built(t, "qemu-aarch64-static")
	cmd := exec.Command("make", "deb", "VERSION=1.0~test1", "DEB_ARCH=arm64")
	cmd.Dir = moduleRoot(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	deb := filepath.Join(cmd.Dir, "build", "goguerrillad_1.0~test1_arm64.deb")
	if out, err := exec.Command("dpkg-deb", "--extract", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(args ...string) string {
		out, err := exec.Command("qemu-aarch64-static", append([]string{filepath.Join(dir, "usr/sbin/goguerrillad")}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := run("-version"); !strings.HasPrefix(got, "goguerrillad 1.0~test1 (commit ") {
		t.Errorf("-version: %s", got)
	}
	if got := run("-t", "-config", filepath.Join(dir, "etc/goguerrilla/goguerrilla.conf")); !strings.Contains(got, "configuration is good") {
		t.Errorf("-t: %s", got)
	}
}

// TestUnits: systemd has no complaint, and the service is exposed no more than
// it should be. It reads the units as they would be installed.
func TestUnits(t *testing.T) {
	deb := built(t, "systemd-analyze")[0]
	root := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "--extract", deb, root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	units := filepath.Join(root, "usr/lib/systemd/system")
	for _, c := range []struct {
		dropIn string
		most   float64
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
			t.Fatalf("%v\n%s", err, out)
		}
		_, level, ok := strings.Cut(string(out), "Overall exposure level for "+service+": ")
		if !ok {
			t.Fatalf("no level: %s", out)
		}
		got, err := strconv.ParseFloat(strings.Fields(level)[0], 64)
		if err != nil || got > c.most {
			t.Errorf("%q: exposure %v, %v, want at most %v", c.dropIn, got, err, c.most)
		}
		t.Logf("exposure with %q: %v", c.dropIn, got)
	}
}

// TestMakeInstall: everything goes where prefix and DESTDIR say, a
// configuration that is there stays, and uninstall leaves only that.
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
		t.Errorf("installed are\n%q, want\n%q", got, want)
	}
	unit, err := os.ReadFile(filepath.Join(dir, "/opt/gg/lib/systemd/system", service))
	if err != nil || strings.Contains(string(unit), "/usr/sbin") || !strings.Contains(string(unit), "ExecStart=/opt/gg/sbin/goguerrillad") {
		t.Errorf("%v, %s", err, unit)
	}
	mine := filepath.Join(dir, configFile)
	if err := os.WriteFile(mine, []byte("mine"), 0o640); err != nil {
		t.Fatal(err)
	}
	run("install")
	if text, err := os.ReadFile(mine); string(text) != "mine" {
		t.Errorf("the configuration became %q, %v", text, err)
	}
	run("uninstall")
	if got := files(); !slices.Equal(got, []string{configFile}) {
		t.Errorf("left are %q", got)
	}
}
