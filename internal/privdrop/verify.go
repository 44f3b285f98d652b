package privdrop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// verify checks that every thread of this process has only the privileges of a
// user and a group, and that it cannot switch back to root.
func verify(uid, gid int) error {
	err := eachThread(func(s status) error { return s.check(uid, gid) })
	if err != nil {
		return err
	}
	return tryRoot()
}

// eachThread checks the status of each thread.
func eachThread(check func(status) error) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("verify that privileges are dropped: %w", err)
	}
	for _, t := range tasks {
		s, err := readStatus(filepath.Join("self/task", t.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err == nil {
			err = check(s)
		}
		if err != nil {
			return fmt.Errorf("verify that privileges are dropped: thread %s: %w", t.Name(), err)
		}
	}
	return nil
}

// A status has the fields of /proc/PID/status (proc_pid_status(5)), with single
// spaces between words.
type status map[string]string

func readStatus(dir string) (status, error) {
	text, err := os.ReadFile(filepath.Join("/proc", dir, "status"))
	if err != nil {
		return nil, err
	}
	s := make(status)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			s[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	return s, nil
}

// capabilities returns the first set that is not empty, with its name, or "".
func (s status) capabilities() string {
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if strings.Trim(s[set], "0") != "" || s[set] == "" {
			return set + " " + s[set]
		}
	}
	return ""
}

// check returns an error if the thread has other ids or any privilege.
func (s status) check(uid, gid int) error {
	// Real, effective, saved and file system id.
	four := func(id int) string { return strings.TrimSuffix(strings.Repeat(strconv.Itoa(id)+" ", 4), " ") }
	switch {
	case s["Uid"] != four(uid):
		return fmt.Errorf("user ids are %s instead of %d", s["Uid"], uid)
	case s["Gid"] != four(gid):
		return fmt.Errorf("group ids are %s instead of %d", s["Gid"], gid)
	case s["Groups"] != "":
		return fmt.Errorf("supplementary groups %s remain", s["Groups"])
	}
	return s.checkUnprivileged()
}

// checkUnprivileged returns an error if the thread has a capability, or can gain
// privileges by an exec.
func (s status) checkUnprivileged() error {
	if set := s.capabilities(); set != "" {
		return fmt.Errorf("capabilities remain: %s", set)
	}
	if s["NoNewPrivs"] != "1" {
		return errors.New("no_new_privs is not set")
	}
	return nil
}

// tryRoot tries to switch back to root, and returns an error if that succeeds. Each
// call changes all threads or none.
func tryRoot() error {
	for _, try := range []struct {
		what string
		call func() error
	}{
		{"user 0", func() error { return syscall.Setresuid(0, 0, 0) }},
		{"effective user 0", func() error { return syscall.Setresuid(-1, 0, -1) }},
		{"group 0", func() error { return syscall.Setresgid(0, 0, 0) }},
		{"effective group 0", func() error { return syscall.Setresgid(-1, 0, -1) }},
		{"supplementary group 0", func() error { return syscall.Setgroups([]int{0}) }},
	} {
		if try.call() == nil {
			return fmt.Errorf("verify that privileges are dropped: switching back to %s succeeds", try.what)
		}
	}
	return nil
}
