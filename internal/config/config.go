// Package config reads goguerrilla.conf: one strict JSON object whose values are
// all strings. A Config is typed, checked as a whole and immutable, so that a
// reload replaces one pointer.
//
// The table of keys controls parsing, the suggestions for misspelt keys, and the
// tests of the sample and of the manual page. Package stores extends it.
package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Config is a configuration with all defaults. It is immutable.
type Config struct {
	File string // name of the file

	Hosts       *Hosts   // domains that receive messages
	PrimaryHost string   // domain of a bare postmaster, ASCII
	HostName    string   // in the greeting and in Received, ASCII
	Listen      []string // host:port each, host may be empty; at least one

	MaxSize         int64         // bytes of one message, 1 to MaxMessage
	Timeout         time.Duration // for one command, 1 s to 24 h
	MaxClients      int           // concurrent sessions, 1 or more
	MaxClientsPerIP int           // 0 = no limit
	Memory          int64         // bytes of message text held at once, at least 4 * MaxSize

	Trusted       *Networks // proxies that may report a client's address; nil = none
	ProxyProtocol bool      // Trusted proxies must send a PROXY header
	AuthHTTP      AuthHTTP
	Metrics       string // host:port of the metrics and the status page, "" = none

	Verbose bool
	LogFile string // "" = stderr or the journal

	KeyFiles, CertFiles []string          // of equal length
	Certificates        []tls.Certificate // the loaded keys and chains, none without TLS

	Group, User ID // to switch to after binding

	Table    string // table, or database.table
	Compress bool   // zlib in the column mail

	// Warnings describe values that are valid but probably a mistake.
	Warnings []string

	keys  []Key
	given map[string]string // the file's non-empty values by key
}

// AuthHTTP is the server of nginx's auth_http.
type AuthHTTP struct {
	Enabled  bool
	Listen   string           // host:port, host may be empty
	Backends []netip.AddrPort // empty = this daemon
}

// ID is a user or a group.
type ID struct {
	Name string // value of the key, "" = not set
	Num  int    // numeric id, if Name is not ""
}

// maxFile is the maximum size of the configuration file and of key, chain and
// password files, in bytes.
const maxFile = 1 << 20

// An Extension adds keys to those of this package.
type Extension struct {
	Keys []Key
	// Check fills in the defaults of Keys that Key.Default does not contain, and
	// checks the values. It runs after all other checks and should return the
	// errors of Draft.Invalid.
	Check func(*Draft) error
	// Foreign recognises a file of another program and returns the error about it,
	// nil for other files. It may be nil, and is called only for invalid files.
	Foreign func(name string, text []byte) *Error
}

// Load reads, parses and checks a file on this machine. Its errors are *Error.
func Load(path string, x Extension) (*Config, error) {
	data, open, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	cfg, err := Parse(path, data, Machine(), x)
	if err == nil && open {
		cfg.warnOfSecrets()
	}
	return cfg, err
}

// warnOfSecrets warns of each password in a file that every user can read.
func (c *Config) warnOfSecrets() {
	for _, k := range c.keys {
		if k.Secret && c.given[k.Name] != "" {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s is in a file that every user of this machine can read: chmod o-r %s", k.Name, c.File))
		}
	}
}

// readConfig returns the text, and whether every user can read it.
func readConfig(path string) (text []byte, open bool, err error) {
	refuse := func(problem, want string) ([]byte, bool, error) {
		return nil, false, &Error{File: path, Problem: problem, Want: want}
	}
	// Opening a FIFO would otherwise wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("there is no such file", "want a copy of goguerrilla.conf.sample, or another path in -config")
	} else if errors.Is(err, fs.ErrPermission) {
		return refuse(unreadable(path, err, ""))
	} else if err != nil {
		return refuse("cannot be opened: "+bare(err), "want a readable file")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return refuse("cannot be read: "+bare(err), "want a readable file")
	}
	if len(data) > maxFile {
		return refuse("is larger than 1 MiB", "want a smaller file")
	}
	info, err := f.Stat()
	if err != nil {
		return refuse("cannot be examined: "+bare(err), "want a readable file")
	}
	return data, info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0, nil
}

// bare returns the text of a file system error without the path, since the path
// is in the *Error already.
func bare(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// Parse checks the text of a configuration; name is the file's name in errors. It
// reads keys, certificates and the state of the machine from env only. Its errors
// are *Error and report the first mistake.
func Parse(name string, data []byte, env Environment, x Extension) (*Config, error) {
	d := &Draft{
		Config:  Config{File: name, keys: append(Keys(), x.Keys...), given: make(map[string]string)},
		env:     env,
		offsets: make(map[string]int),
	}
	err := d.read(data)
	if err != nil && x.Foreign != nil {
		if foreign := x.Foreign(name, data); foreign != nil {
			return nil, foreign
		}
	}
	if err == nil {
		err = d.resolve()
	}
	if err == nil && x.Check != nil {
		err = x.Check(d)
	}
	if err == nil {
		return &d.Config, nil
	}
	var m *mistake
	if !errors.As(err, &m) {
		return nil, &Error{File: name, Problem: err.Error()}
	}
	e := &Error{File: name, Key: m.key, Value: m.value, Problem: m.problem, Want: m.want}
	if m.offset >= 0 {
		e.Line, e.Column = Position(data, m.offset)
	}
	return nil, e
}

// Value returns the value of a key in the file, "" if the key is not set.
func (c *Config) Value(key string) string { return c.given[key] }

// Changes reports whether the file sets a key to a value other than its default.
func (c *Config) Changes(key string) bool {
	i := slices.IndexFunc(c.keys, func(k Key) bool { return k.Name == key })
	return c.given[key] != "" && (i < 0 || c.given[key] != c.keys[i].Default)
}

// NeedsRestart returns the keys whose values differ between c and next and take
// effect only at a restart.
func (c *Config) NeedsRestart(next *Config) []string {
	var names []string
	for _, k := range c.keys {
		if k.Restart && c.given[k.Name] != next.given[k.Name] {
			names = append(names, k.Name)
		}
	}
	return names
}

// mistake is a fault with its position: the offset of a token, or -1.
type mistake struct {
	fault
	offset int
	key    string
}
