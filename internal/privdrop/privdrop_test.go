package privdrop

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestThreads: Drop and DropCapabilities change all threads, or return an error, and
// verify finds every privilege that is left. Each case runs attempt in a child with
// many busy threads.
func TestThreads(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("takes seconds, and needs root")
	}
	program := filepath.Join(t.TempDir(), "child")
	build := exec.Command("go", "test", "-c", "-o", program, ".") // without cgo, which the race detector needs
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	const none = "0000000000000000"
	const dropped = "result: <nil>\nmany threads: true\n" +
		"threads: Uid=65533,65533,65533,65533 Gid=65532,65532,65532,65532 Groups=" +
		" CapInh=" + none + " CapPrm=" + none + " CapEff=" + none + " CapBnd=" + none + " CapAmb=" + none + " NoNewPrivs=1\n" +
		"reads shadow: false\nchild: 65533 <nil>\n"
	type testCase struct{ name, filter, want string }
	cases := []testCase{
		{"drop", "", dropped},
		{"drop with kept capabilities", "", dropped},
		{"drop to 1", "", "result: <nil>\nmany threads: true\nthreads: Uid=1,1,1,1 Gid=1,1,1,1 Groups= "},
		{"drop to root", "", "result: switch to user 0 and group 65532: the ids must be above 0\n"},
		{"drop to root's group", "", "result: switch to user 65533 and group 0: the ids must be above 0\n"},
		{"refuse root", "", "result: started as root: set SGID and GUID to the group and user to switch to, or User= in the systemd unit\n"},
		{"refuse root after drop", "", "result: <nil>\n"},
		{"refuse saved root", "", "result: started as root: "},
		{"drop capabilities", "", "result: <nil>\nmany threads: true\n" +
			"threads: Uid=65533,65533,65533,65533 Gid=65532,65532,65532,65532 Groups=65533" +
			" CapInh=" + none + " CapPrm=" + none + " CapEff=" + none},
		{"verify unchanged", "", "result: verify that privileges are dropped: thread N: user ids are 0 0 0 0 instead of 65533\n"},
		{"verify change of one thread", "", "result: verify that privileges are dropped: thread N: user ids are 0 0 0 0 instead of 65533\n"},
		{"verify with groups", "", "result: verify that privileges are dropped: thread N: supplementary groups 0 4 remain\n"},
		{"verify with saved root", "", "result: verify that privileges are dropped: thread N: user ids are 65533 65533 0 65533 instead of 65533\n"},
		{"verify with capabilities", "", "result: verify that privileges are dropped: thread N: capabilities remain: CapPrm "},
		{"verify with exec", "", "result: verify that privileges are dropped: thread N: no_new_privs is not set\n"},
	}
	// A system call that the kernel refuses, or that has no effect, is an error.
	const failed = "result: verify that privileges are dropped: thread N: "
	cases = append(cases, []testCase{
		{"drop", "prctl refused", "result: set no_new_privs: operation not permitted\n"},
		{"drop", "prctl ignored", failed + "no_new_privs is not set\n"},
		{"drop", "setgroups refused", "result: set the supplementary groups: operation not permitted\n"},
		{"drop", "setresgid refused", "result: switch to group 65532: operation not permitted\n"},
		{"drop", "setresgid ignored", failed + "group ids are 0 0 0 0 instead of 65532\n"},
		{"drop", "setresuid refused", "result: switch to user 65533: operation not permitted\n"},
		{"drop", "setresuid ignored", failed + "user ids are 0 0 0 0 instead of 65533\n"},
		{"drop", "capset refused", "result: drop all capabilities: operation not permitted\n"},
		{"drop with kept capabilities", "capset ignored", failed + "capabilities remain: CapPrm "},
		{"drop capabilities", "capset refused", "result: drop all capabilities: operation not permitted\n"},
		{"drop capabilities", "capset ignored", failed + "capabilities remain: CapPrm "},
		{"drop capabilities", "prctl refused", "result: set no_new_privs: operation not permitted\n"},
		{"drop capabilities without proc", "", "result: read the capabilities: open /proc/self/status: no such file or directory\n"},
		{"verify without proc", "", "result: verify that privileges are dropped: open /proc/self/task: no such file or directory\n"},
		{"verify", "setresuid ignored", "result: verify that privileges are dropped: switching back to user 0 succeeds\n"},
		{"verify", "setresgid ignored", "result: verify that privileges are dropped: switching back to group 0 succeeds\n"},
		{"verify", "setgroups ignored", "result: verify that privileges are dropped: switching back to supplementary group 0 succeeds\n"},
	}...)
	thread := regexp.MustCompile(`thread [0-9]+`)
	for _, c := range cases {
		t.Run(strings.TrimSpace(c.name+" "+c.filter), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program)
			cmd.Env = append(cmd.Environ(), childVariable+"="+c.name, filterVariable+"="+c.filter)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Errorf("child: %v\n%s", err, out.String())
			}
			got := thread.ReplaceAllString(out.String(), "thread N")
			checkLines(t, got, c.want)
			if states := strings.Count(got, "\nthreads:"); strings.Contains(c.want, "\nthreads:") && states != 1 {
				t.Errorf("threads in %d different states, want 1:\n%s", states, got)
			}
		})
	}
}

// checkLines checks that got begins with want, and reports the first line that
// differs.
func checkLines(t *testing.T, got, want string) {
	t.Helper()
	for line := range strings.Lines(want) {
		rest, found := strings.CutPrefix(got, line)
		if !found {
			gotLine, _, _ := strings.Cut(got, "\n")
			t.Errorf("the child's output has the line\n got %s\nwant %s", gotLine, line)
			return
		}
		got = rest
	}
}

// TestUnchanged: this process has other ids than those that verify expects, and only
// root is refused.
func TestUnchanged(t *testing.T) {
	if err := verify(uid, gid); err == nil {
		t.Error("verify returns no error")
	}
	err := RefuseRoot()
	if root := os.Geteuid() == 0; root != (err != nil) {
		t.Errorf("root %v: error %v", root, err)
	}
}
