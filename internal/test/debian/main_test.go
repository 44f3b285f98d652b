package debian

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/box"
)

const (
	service    = "goguerrillad.service"
	socket     = "goguerrillad.socket"
	configFile = "/etc/goguerrilla/goguerrilla.conf"
	program    = "/usr/sbin/goguerrillad -config " + configFile
)

// packages are two versions of the package, made once.
var packages = sync.OnceValues(func() (built [2]string, err error) {
	root, err := test.ModuleRoot()
	if err != nil {
		return built, err
	}
	for i, version := range []string{"1.0~test1", "1.0~test2"} {
		cmd := exec.Command("make", "deb", "VERSION="+version)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return built, fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
		arch, err := exec.Command("dpkg", "--print-architecture").Output()
		if err != nil {
			return built, fmt.Errorf("ask for the architecture: %w", err)
		}
		built[i] = filepath.Join(root, "build", "goguerrillad_"+version+"_"+strings.TrimSpace(string(arch))+".deb")
	}
	return built, nil
})

// A machine is a box that the package is to run on.
type machine struct {
	*box.Box
	debs   [2]string // paths in the box
	readme string
}

// boot starts a box with the packages lying in it.
func boot(t *testing.T, release string) *machine {
	t.Helper()
	debs := built(t)
	m := &machine{Box: box.Start(t, release)}
	for i, deb := range debs {
		text, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		m.debs[i] = "/root/" + filepath.Base(deb)
		m.Write(t, m.debs[i], string(text))
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := m.Try("journalctl --no-pager --lines=200 --unit=goguerrillad.service --unit=goguerrillad.socket; systemctl --no-pager status goguerrillad.service goguerrillad.socket")
			t.Logf("the journal of %s:\n%s", release, log)
		}
	})
	return m
}

// configure changes keys of the configuration, whose owner and mode stay.
func (m *machine) configure(t *testing.T, changes map[string]string) {
	t.Helper()
	path := filepath.Join(m.Root, configFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	for key, value := range changes {
		keys[key] = value
	}
	if text, err = json.MarshalIndent(keys, "", "    "); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o640); err != nil {
		t.Fatal(err)
	}
}

// readme is what people read.
func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documented runs a command that README has, in a form that fits the box.
func (m *machine) documented(t *testing.T, command, here string) {
	t.Helper()
	if !strings.Contains(m.readme, "\n"+command+" ") {
		t.Errorf("README does not say: %s", command)
	}
	m.Run(t, here)
}

// show returns properties of a unit.
func (m *machine) show(t *testing.T, unit, property string) string {
	t.Helper()
	return m.Run(t, "systemctl show --value --property="+property+" "+unit)
}

// is waits until a property of a unit has a value.
func (m *machine) is(t *testing.T, unit, property, want string) {
	t.Helper()
	test.Await(t, nil, 30*time.Second, unit+" has not the "+property+" "+want, func() error {
		if got := m.show(t, unit, property); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// takes sends a mail, wants it acknowledged, and returns its hash.
func (m *machine) takes(t *testing.T, addr string) string {
	t.Helper()
	reply, err := sendMail(m.Box, addr, "b@example.com")
	if err != nil || reply.Code != 250 {
		t.Fatalf("mail to %s: %v, %v", addr, reply, err)
	}
	return reply.Hash()
}

// stored wants a mail in the table.
func (m *machine) stored(t *testing.T, hash string) {
	t.Helper()
	if out, err := m.Try(program + " -show " + hash); err != nil || !strings.HasSuffix(out, "text") {
		t.Errorf("-show %s: %v, %q", hash, err, out)
	}
}

// dropIn adds a file of settings to the service.
func (m *machine) dropIn(t *testing.T, name, text string) {
	t.Helper()
	m.Write(t, "/etc/systemd/system/goguerrillad.service.d/"+name, text)
	m.Run(t, "systemctl daemon-reload")
}

// noDropIn takes all of them away.
func (m *machine) noDropIn(t *testing.T) {
	t.Helper()
	// The steps start the units more often in ten seconds than systemd lets them.
	m.Run(t, "rm -rf /etc/systemd/system/goguerrillad.service.d; systemctl daemon-reload; systemctl reset-failed "+socket+" "+service+" || true")
}

// refuses reports whether nobody listens on an address.
func (m *machine) refuses(addr string) error {
	conn, err := m.Dial("tcp", addr, 5*time.Second)
	if err == nil {
		conn.Close()
		return errors.New("somebody listens on " + addr)
	}
	return nil
}
