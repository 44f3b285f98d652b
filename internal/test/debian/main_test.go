package debian

import (
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

// packages builds two versions of the package. Only the first call builds them.
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
			return built, fmt.Errorf("dpkg --print-architecture: %w", err)
		}
		built[i] = filepath.Join(root, "build", "goguerrillad_"+version+"_"+strings.TrimSpace(string(arch))+".deb")
	}
	return built, nil
})

// A machine is a container with two versions of the package.
type machine struct {
	*box.Box
	debs [2]string // paths in the container
}

// boot starts a container with additional packages of Debian, and copies the packages of the
// daemon into it.
func boot(t *testing.T, release string, more ...string) *machine {
	t.Helper()
	debs := built(t) // may skip the test
	m := &machine{Box: box.Start(t, release, more...)}
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
			t.Logf("journal of %s:\n%s", release, log)
		}
	})
	return m
}

// configure changes keys of the configuration.
func (m *machine) configure(t *testing.T, changes map[string]string) {
	t.Helper()
	m.Configure(t, configFile, changes)
}

// show returns a property of a unit.
func (m *machine) show(t *testing.T, unit, property string) string {
	t.Helper()
	return m.Run(t, "systemctl show --value --property="+property+" "+unit)
}

// awaitProperty waits until a property of a unit has a value.
func (m *machine) awaitProperty(t *testing.T, unit, property, want string) {
	t.Helper()
	test.Await(t, nil, 30*time.Second, "waiting for "+unit, func() error {
		if got := m.show(t, unit, property); got != want {
			return fmt.Errorf("%s is %q, want %q", property, got, want)
		}
		return nil
	})
}

// send sends a message, which must be acknowledged, and returns its hash.
func (m *machine) send(t *testing.T, addr string) string {
	t.Helper()
	reply, err := sendMessage(m.Box, addr, "b@example.com")
	if err != nil || reply.Code != 250 {
		t.Fatalf("message to %s: reply %v, %v, want 250", addr, reply, err)
	}
	return reply.Hash()
}

// expectStored checks that -show prints a message.
func (m *machine) expectStored(t *testing.T, hash string) {
	t.Helper()
	if out, err := m.Try(program + " -show " + hash); err != nil || !strings.HasSuffix(out, "text") {
		t.Errorf("-show %s: %v, %q", hash, err, out)
	}
}

// dropIn adds a drop-in to the service.
func (m *machine) dropIn(t *testing.T, name, text string) {
	t.Helper()
	m.Write(t, "/etc/systemd/system/goguerrillad.service.d/"+name, text)
	m.Run(t, "systemctl daemon-reload")
}

// removeDropIns removes all drop-ins of the service.
func (m *machine) removeDropIns(t *testing.T) {
	t.Helper()
	// The steps start the units more often in 10 s than systemd allows.
	m.Run(t, "rm -rf /etc/systemd/system/goguerrillad.service.d; systemctl daemon-reload; systemctl reset-failed "+socket+" "+service+" || true")
}

// refusesConnections returns an error if a process listens on an address.
func (m *machine) refusesConnections(addr string) error {
	conn, err := m.Dial("tcp", addr, 5*time.Second)
	if err == nil {
		conn.Close()
		return errors.New("a process listens on " + addr)
	}
	return nil
}
