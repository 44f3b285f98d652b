// Package config reads goguerrilla.conf: one strict JSON object whose values
// are all strings. What it hands out is typed, checked as a whole and never
// changed afterwards, so that a reload is the swap of one pointer.
//
// One table, Keys, drives the parsing, the suggestions for misspelt keys, and
// the tests of the sample and the manual page.
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

	"goguerrillad/internal/recipient"
)

// Config is one configuration with all defaults filled in. It is immutable.
type Config struct {
	File string // where it was read from

	Hosts       *Hosts   // domains that receive
	PrimaryHost string   // domain of a bare postmaster, ASCII
	HostName    string   // in the greeting and in Received, ASCII
	Listen      []string // host:port each, host may be empty; at least one

	MaxSize         int64         // bytes of one message, 1 to MaxMessage
	Timeout         time.Duration // for one command, 1 s to 24 h
	MaxClients      int           // sessions at a time, 1 or more
	MaxClientsPerIP int           // 0 = no limit
	Memory          int64         // bytes of message text held at one time, at least 4 * MaxSize

	Trusted       *Networks // peers that may speak for a client; nil when there are none
	ProxyProtocol bool      // and have to, by a PROXY header
	AuthHTTP      AuthHTTP
	Metrics       string // host:port of the metrics and the status page; "" for none

	Verbose bool
	LogFile string // "" = stderr or the journal

	KeyFile, CertFile string
	Certificate       *tls.Certificate // the loaded pair, nil without one

	Group, User ID // to become after binding

	SaveMail   string // SaveMySQL, SaveSQLite, SaveMaildir, SaveWebhook or SaveDiscard
	Table      string // table, or database.table
	Compress   bool   // zlib in the column mail
	MySQL      MySQL
	SQLiteFile string // path
	Maildir    string // path of a directory
	Webhook    Webhook
	Redis      Redis
	Recipients Recipients

	// Warnings are sentences for the log about what is allowed but probably
	// not meant.
	Warnings []string

	given map[string]string // the file's non-empty values by key
}

// The values of GM_SAVE_MAIL.
const (
	SaveMySQL   = "mysql"
	SaveSQLite  = "sqlite"
	SaveMaildir = "maildir"
	SaveWebhook = "webhook"
	SaveDiscard = "discard"
)

// MySQL is where and how to reach the database.
type MySQL struct {
	Hosts          []string // host:port or an absolute path each, tried in order; none when SaveMail is not mysql and none was given
	Spread         bool     // mail goes to all of them that take it
	User, Pass, DB string
	TLS            string // TLSOff, TLSPreferred, TLSVerify or TLSSkipVerify
}

// The values of MYSQL_TLS.
const (
	TLSOff        = "N"
	TLSPreferred  = "preferred"   // when the server offers it, unverified
	TLSVerify     = "Y"           // always, certificate verified
	TLSSkipVerify = "skip-verify" // always, unverified
)

// Webhook is who is handed every mail.
type Webhook struct {
	URL string // https or http, "" when SaveMail is not webhook and none was given
	Key []byte // nil = posts are not signed
}

// Recipients is what the store's database is asked about each of them.
type Recipients struct {
	Query *recipient.Query // nil = all of Hosts receive
	Keep  time.Duration    // of an answer, whole seconds; 0 = it is not kept
}

// AuthHTTP is the server that nginx asks where to send a session.
type AuthHTTP struct {
	Enabled  bool
	Listen   string           // host:port, host may be empty
	Backends []netip.AddrPort // none stands for this daemon
}

// Redis is where messages go beside the store, and for how long.
type Redis struct {
	Host   string // host:port or an absolute path; "" when there is none
	Pass   string
	DB     int
	Mode   string        // RedisCache or RedisStore
	Expire time.Duration // whole seconds, at least one
	// Stream is the key of a stream that hears of each row, "" for none.
	Stream    string
	StreamMax int64 // entries that it keeps, about
}

// The values of REDIS_MODE.
const (
	RedisCache = "cache" // a copy
	RedisStore = "store" // in place of the column mail
)

// ID is a user or a group.
type ID struct {
	Name string // as given, "" when it was not
	Num  int    // the numeric id; meaningless when Name is ""
}

// maxFile bounds the configuration file and the files that it names, in bytes.
const maxFile = 1 << 20

// Load reads, parses and checks a file on this machine. Its errors are
// *Error.
func Load(path string) (*Config, error) {
	data, open, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	cfg, err := Parse(path, data, Machine())
	if err == nil && open {
		cfg.warnOfSecrets()
	}
	return cfg, err
}

// warnOfSecrets tells of a password in a file that everybody can read.
func (c *Config) warnOfSecrets() {
	for _, k := range Keys() {
		if k.Secret && c.given[k.Name] != "" {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s is in a file that every user of this machine can read: chmod o-r %s", k.Name, c.File))
		}
	}
}

// readConfig returns the text, and whether everybody can read it.
func readConfig(path string) (text []byte, open bool, err error) {
	refuse := func(problem, want string) ([]byte, bool, error) {
		return nil, false, &Error{File: path, Problem: problem, Want: want}
	}
	// A FIFO in the working directory would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("there is no such file", "name it by -config, or copy goguerrilla.conf.sample to it")
	} else if errors.Is(err, fs.ErrPermission) {
		return refuse("not allowed to read it", fmt.Sprintf("make it readable for the user with id %d", os.Geteuid()))
	} else if err != nil {
		return refuse("cannot be opened: "+bare(err), "want a readable file")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return refuse("cannot be read: "+bare(err), "want a readable file")
	}
	if len(data) > maxFile {
		return refuse("is larger than 1 MiB", "want a configuration")
	}
	info, err := f.Stat()
	if err != nil {
		return refuse("cannot be examined: "+bare(err), "want a readable file")
	}
	return data, info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0, nil
}

// bare is an error of the file system without the path, which the message
// around it names already.
func bare(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// Parse checks the text of a configuration; name stands for the file in
// messages. Everything outside the text is asked of env. Its errors are
// *Error; of several mistakes in the text it reports the first.
func Parse(name string, data []byte, env Environment) (*Config, error) {
	d := &draft{
		Config: Config{File: name, given: make(map[string]string)},
		env:    env,
		at:     make(map[string]int),
	}
	err := d.read(data)
	if err == nil {
		err = d.resolve()
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
		e.Line, e.Column = position(data, m.offset)
	}
	return nil, e
}

// NeedsRestart names the keys in which next differs from c and which a
// running process cannot change.
func (c *Config) NeedsRestart(next *Config) []string {
	var names []string
	for _, k := range Keys() {
		if !k.Reload && c.given[k.Name] != next.given[k.Name] {
			names = append(names, k.Name)
		}
	}
	return names
}

// draft is a Config in the making.
type draft struct {
	Config
	env Environment
	at  map[string]int // offset of each given key's value

	query string // of recipients, until the store is known
}

// mistake is a fault with its place: the offset of a token, or -1.
type mistake struct {
	fault
	offset int
	key    string
}

// read takes over what stands in the text, key by key.
func (d *draft) read(data []byte) error {
	keys := Keys()
	doc := newDocument(data)
	if err := doc.begin(); err != nil {
		return err
	}
	for {
		name, at, err := doc.name()
		if err != nil {
			return err
		}
		if name == "" && at < 0 {
			return doc.end()
		}
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
		if i < 0 && !doc.colon() {
			return &mistake{fault{problem: "what follows the comma is not a key with a value", want: `want "KEY": "value"`}, at, ""}
		}
		if i < 0 {
			return &mistake{fault{problem: "unknown key " + quote(name), want: suggest(name, keys)}, at, ""}
		}
		if first, twice := d.at[name]; twice {
			line, _ := position(data, first)
			return &mistake{fault{problem: "is given twice, first in line " + fmt.Sprint(line), want: "take one of the two out"}, at, name}
		}
		value, at, err := doc.value(name)
		if err != nil {
			return err
		}
		d.at[name] = at
		if value == "" {
			continue
		}
		d.given[name] = value
		if err := keys[i].take(d, value); err != nil {
			return d.blame(keys[i], err)
		}
	}
}

// blame places a fault of a value at that value.
func (d *draft) blame(k Key, err error) error {
	var f *fault
	if !errors.As(err, &f) {
		f = &fault{problem: err.Error()}
	}
	m := &mistake{fault: *f, offset: -1, key: k.Name}
	if at, ok := d.at[k.Name]; ok {
		m.offset = at
	}
	if m.value == "" {
		m.value = d.given[k.Name]
	}
	if k.Secret || f.hide {
		m.value = ""
	}
	return m
}
