package config

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Environment is the part of the machine that a configuration depends on.
// Machine returns the real one.
type Environment struct {
	Getenv   func(name string) string
	ReadFile func(path string) ([]byte, error)
	Now      func() time.Time
	// Memory returns the memory limit of this process, in bytes.
	Memory func() int64
	// FQDN returns the machine's fully qualified name, or the best known name.
	FQDN func() string
	// User finds a user by name or decimal id, and the user's group.
	User func(name string) (uid, gid int, err error)
	// Group finds a group by name.
	Group func(name string) (gid int, err error)
}

// Machine returns the Environment of this machine and process.
func Machine() Environment {
	return Environment{
		Getenv:   os.Getenv,
		ReadFile: readFile,
		Now:      time.Now,
		Memory:   machineMemory,
		FQDN:     machineName,
		User:     lookupUser,
		Group:    lookupGroup,
	}
}

// readFile reads a regular file of at most maxFile bytes: a key, a certificate
// chain or a password. It refuses a FIFO, whose opening would wait for a writer,
// and a device, which may have no end.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, unix.EISDIR
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("larger than 1 MiB")
	}
	return text, err
}

func lookupUser(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if _, numeric := strconv.Atoi(name); numeric == nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

func lookupGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// machineMemory returns the smaller of the cgroup's limit and the machine's
// memory. sysinfo(2) reports the memory, since /proc/meminfo does not exist under
// ProcSubset=pid.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	total := int64(0)
	if unix.Sysinfo(&info) == nil {
		total = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	if limit, ok := CgroupMemoryMax(); ok && (total == 0 || limit < total) {
		return limit
	}
	return total
}

// CgroupMemoryMax returns the smallest memory.max of this process's cgroup
// (version 2) and of its ancestors, in bytes, and whether there is a limit.
func CgroupMemoryMax() (int64, bool) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(self)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return memoryMax("/sys/fs/cgroup", path)
		}
	}
	return 0, false
}

// memoryMax reads memory.max of the directory path below root and of its parents.
func memoryMax(root, path string) (least int64, ok bool) {
	for dir := filepath.Join("/", path); ; dir = filepath.Dir(dir) {
		if text, err := os.ReadFile(filepath.Join(root, dir, "memory.max")); err == nil {
			// "max" is not a number and means no limit.
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && n > 0 && (!ok || n < least) {
				least, ok = n, true
			}
		}
		if dir == "/" {
			return least, ok
		}
	}
}

// resolverTimeout bounds the DNS query for the machine's own name.
const resolverTimeout = time.Second

// machineName returns the host name if it has a dot, else its full form in
// /etc/hosts, else the canonical name in DNS, as hostname -f does (hostname(1)). If
// there is no full form, it returns the host name.
func machineName() string {
	name, err := os.Hostname()
	if err != nil || strings.Contains(name, ".") {
		return name
	}
	if hosts, err := os.ReadFile("/etc/hosts"); err == nil {
		if full := nameInHosts(string(hosts), name); full != "" {
			return full
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolverTimeout)
	defer cancel()
	full, err := net.DefaultResolver.LookupCNAME(ctx, name)
	if full = strings.TrimSuffix(full, "."); err == nil && strings.Contains(full, ".") {
		return full
	}
	return name
}

// nameInHosts returns the name with a dot in the line of a hosts file (hosts(5))
// that contains the short name.
func nameInHosts(hosts, short string) string {
	lines := bufio.NewScanner(strings.NewReader(hosts))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		full, known := "", false
		for i, f := range strings.Fields(line) {
			if i == 0 {
				continue // the address
			}
			known = known || strings.EqualFold(f, short)
			if full == "" && strings.Contains(f, ".") {
				full = f
			}
		}
		if known && full != "" {
			return full
		}
	}
	return ""
}
