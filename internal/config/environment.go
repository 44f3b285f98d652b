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
// Machine gives the real one; tests bring their own.
type Environment struct {
	Getenv   func(name string) string
	ReadFile func(path string) ([]byte, error)
	Now      func() time.Time
	// Memory returns the bytes of memory that this process may use at most.
	Memory func() int64
	// FQDN returns the machine's fully qualified name as well as it is known.
	FQDN func() string
	// User finds a user by name or decimal id, and the user's group.
	User func(name string) (uid, gid int, err error)
	// Group finds a group by name.
	Group func(name string) (gid int, err error)
}

// Machine is the Environment of the machine and process that runs this.
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
// chain or a password. The open of a FIFO would wait for a writer, and a device
// may have no end.
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

// machineMemory is the smaller of the cgroup's limit and the machine's
// memory. The latter comes from sysinfo(2), because /proc/meminfo is not
// there under ProcSubset=pid.
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
// (version 2) and of those above it, in bytes, and whether there is any.
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

// memoryMax looks from the directory path below root upwards.
func memoryMax(root, path string) (least int64, ok bool) {
	for dir := filepath.Join("/", path); ; dir = filepath.Dir(dir) {
		if text, err := os.ReadFile(filepath.Join(root, dir, "memory.max")); err == nil {
			// "max" is no number and means no limit.
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

// resolverPatience bounds the question to DNS for the machine's own name.
const resolverPatience = time.Second

// machineName is what `hostname -f` says: the host name if it has a dot, else
// its full form in /etc/hosts, else the canonical name in DNS.
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
	ctx, cancel := context.WithTimeout(context.Background(), resolverPatience)
	defer cancel()
	full, err := net.DefaultResolver.LookupCNAME(ctx, name)
	if full = strings.TrimSuffix(full, "."); err == nil && strings.Contains(full, ".") {
		return full
	}
	return name
}

// nameInHosts finds the name with a dot that stands in a line of a hosts file
// together with the short name.
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
