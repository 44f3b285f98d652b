package privdrop_test

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

	"goguerrillad/internal/privdrop"
)

// Each case runs a program that does to itself, with many busy threads, what
// the name says.
func TestThreads(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("takes seconds, and needs root")
	}
	program := filepath.Join(t.TempDir(), "drop")
	build := exec.Command("go", "build", "-o", program, "./testdata/drop")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	const none = "0000000000000000"
	const dropped = "result: <nil>\nmany threads: true\n" +
		"threads: Uid=65533,65533,65533,65533 Gid=65532,65532,65532,65532 Groups=" +
		" CapInh=" + none + " CapPrm=" + none + " CapEff=" + none + " CapBnd=" + none + " CapAmb=" + none + " NoNewPrivs=1\n" +
		"reads shadow: false\nchild: 65533 <nil>\n"
	type attempt struct{ what, filter, want string }
	cases := []attempt{
		{"drop", "", dropped},
		{"drop with kept capabilities", "", dropped},
		{"drop to 1", "", "result: <nil>\nmany threads: true\nthreads: Uid=1,1,1,1 Gid=1,1,1,1 Groups= "},
		{"drop to root", "", "result: become user 0 and group 65532: neither may be root\n"},
		{"drop to root's group", "", "result: become user 65533 and group 0: neither may be root\n"},
		{"refuse root", "", "result: started as root: SGID and GUID must name the group and user to become (under systemd, set User= instead)\n"},
		{"refuse root after drop", "", "result: <nil>\n"},
		{"refuse saved root", "", "result: started as root: "},
		{"forfeit", "", "result: <nil>\nmany threads: true\n" +
			"threads: Uid=65533,65533,65533,65533 Gid=65532,65532,65532,65532 Groups=65533" +
			" CapInh=" + none + " CapPrm=" + none + " CapEff=" + none},
		{"prove nothing", "", "result: prove that no rights are left: thread N: its user ids are 0 0 0 0 instead of 65533\n"},
		{"prove one thread alone", "", "result: prove that no rights are left: thread N: its user ids are 0 0 0 0 instead of 65533\n"},
		{"prove with groups", "", "result: prove that no rights are left: thread N: it has the supplementary groups 0 4\n"},
		{"prove with saved root", "", "result: prove that no rights are left: thread N: its user ids are 65533 65533 0 65533 instead of 65533\n"},
		{"prove with capabilities", "", "result: prove that no rights are left: thread N: it has capabilities: CapPrm "},
		{"prove with exec", "", "result: prove that no rights are left: thread N: it could gain privileges by exec: NoNewPrivs is not 1\n"},
	}
	// A step that the kernel refuses, or that has no effect, is an error.
	const prove = "result: prove that no rights are left: thread N: "
	cases = append(cases, []attempt{
		{"drop", "prctl refused", "result: set no_new_privs: operation not permitted\n"},
		{"drop", "prctl ignored", prove + "it could gain privileges by exec: NoNewPrivs is not 1\n"},
		{"drop", "setgroups refused", "result: leave the supplementary groups: operation not permitted\n"},
		{"drop", "setresgid refused", "result: become group 65532: operation not permitted\n"},
		{"drop", "setresgid ignored", prove + "its group ids are 0 0 0 0 instead of 65532\n"},
		{"drop", "setresuid refused", "result: become user 65533: operation not permitted\n"},
		{"drop", "setresuid ignored", prove + "its user ids are 0 0 0 0 instead of 65533\n"},
		{"drop", "capset refused", "result: give up all capabilities: operation not permitted\n"},
		{"drop with kept capabilities", "capset ignored", prove + "it has capabilities: CapPrm "},
		{"forfeit", "capset refused", "result: give up all capabilities: operation not permitted\n"},
		{"forfeit", "capset ignored", prove + "it has capabilities: CapPrm "},
		{"forfeit", "prctl refused", "result: set no_new_privs: operation not permitted\n"},
		{"forfeit without proc", "", "result: look for capabilities: open /proc/self/status: no such file or directory\n"},
		{"prove without proc", "", "result: prove that no rights are left: open /proc/self/task: no such file or directory\n"},
		{"prove", "setresuid ignored", "result: prove that no rights are left: the way back to user 0 is open\n"},
		{"prove", "setresgid ignored", "result: prove that no rights are left: the way back to group 0 is open\n"},
		{"prove", "setgroups ignored", "result: prove that no rights are left: the way back to supplementary group 0 is open\n"},
	}...)
	thread := regexp.MustCompile(`thread [0-9]+`)
	for _, c := range cases {
		t.Run(strings.TrimSpace(c.what+" "+c.filter), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, strings.Split(strings.Trim(c.what+"/"+c.filter, "/"), "/")...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			got := thread.ReplaceAllString(out.String(), "thread N")
			if err != nil || !strings.HasPrefix(got, c.want) {
				t.Errorf("%v\n got %s\nwant %s", err, got, c.want)
			}
			if strings.Count(c.want, "threads:") > 0 && strings.Count(got, "threads: ") != 2 {
				t.Errorf("not all threads are in the same state:\n%s", got)
			}
		})
	}
}

// This process keeps its rights, whatever it is.
func TestProveFails(t *testing.T) {
	if err := privdrop.Prove(65533, 65532); err == nil {
		t.Error("proved what is not so")
	}
	refused := privdrop.RefuseRoot() != nil
	if root := os.Geteuid() == 0; refused != root {
		t.Errorf("root: %v, refused: %v", root, refused)
	}
}
