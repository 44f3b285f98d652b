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

// Prove checks that every thread of this process is the user and group with
// these ids and nothing else, and that root cannot be had back.
func Prove(uid, gid int) error {
	err := eachThread(func(s status) error { return s.check(uid, gid) })
	if err != nil {
		return err
	}
	return tryToReturn()
}

// eachThread checks what the kernel says of each thread.
func eachThread(check func(status) error) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("prove that no rights are left: %w", err)
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
			return fmt.Errorf("prove that no rights are left: thread %s: %w", t.Name(), err)
		}
	}
	return nil
}

// status is what /proc/PID/status says, by field, blanks between words single.
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

// capabilities names a set that is not empty, or returns "".
func (s status) capabilities() string {
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if strings.Trim(s[set], "0") != "" || s[set] == "" {
			return set + " " + s[set]
		}
	}
	return ""
}

// check compares a thread with what it should be.
func (s status) check(uid, gid int) error {
	// Real, effective, saved and file system id.
	four := func(id int) string { return strings.TrimSuffix(strings.Repeat(strconv.Itoa(id)+" ", 4), " ") }
	switch {
	case s["Uid"] != four(uid):
		return fmt.Errorf("its user ids are %s instead of %d", s["Uid"], uid)
	case s["Gid"] != four(gid):
		return fmt.Errorf("its group ids are %s instead of %d", s["Gid"], gid)
	case s["Groups"] != "":
		return fmt.Errorf("it has the supplementary groups %s", s["Groups"])
	}
	return s.powerless()
}

// powerless checks that nothing is allowed beyond what the ids allow.
func (s status) powerless() error {
	if set := s.capabilities(); set != "" {
		return fmt.Errorf("it has capabilities: %s", set)
	}
	if s["NoNewPrivs"] != "1" {
		return errors.New("it could gain privileges by exec: NoNewPrivs is not 1")
	}
	return nil
}

// tryToReturn fails when root can be had back. Each call changes all threads
// or none.
func tryToReturn() error {
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
			return fmt.Errorf("prove that no rights are left: the way back to %s is open", try.what)
		}
	}
	return nil
}
