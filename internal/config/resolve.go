package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"goguerrillad/internal/recipient"
)

// resolve fills in the defaults and checks what concerns more than one key.
func (d *draft) resolve() error {
	keys := Keys()
	for _, k := range keys {
		if d.given[k.Name] == "" && k.Default != "" {
			if err := k.take(d, k.Default); err != nil {
				return d.blame(k, err)
			}
		}
	}
	for _, step := range []struct {
		key string
		do  func(*draft) error
	}{
		{"GSMTP_HOST_NAME", (*draft).names},
		{"GSMTP_MEMORY", (*draft).memory},
		{"SGID", (*draft).group},
		{"GUID", (*draft).user},
		{"GSMTP_PRV_KEY", (*draft).certificate},
		{"MYSQL_PASS", func(d *draft) error { return d.credential("mysql_pass", &d.MySQL.Pass) }},
		{"REDIS_PASS", func(d *draft) error { return d.credential("redis_pass", &d.Redis.Pass) }},
		{"GSMTP_TRUSTED_PROXIES", (*draft).trust},
		{"GM_SAVE_MAIL", (*draft).store},
		{"GM_RECIPIENT_QUERY", (*draft).recipients},
	} {
		err := step.do(d)
		var m *mistake
		if err == nil || errors.As(err, &m) {
			if err != nil {
				return err
			}
			continue
		}
		return d.blameKey(step.key, err)
	}
	return nil
}

// blameKey places a fault at the value of a key.
func (d *draft) blameKey(name string, err error) error {
	keys := Keys()
	return d.blame(keys[slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })], err)
}

// names lets each of the two host names stand in for the other.
func (d *draft) names() error {
	if d.HostName == "" {
		d.HostName = d.PrimaryHost
	}
	if d.HostName == "" {
		name, err := hostName(d.env.FQDN())
		if err != nil {
			name = "localhost"
			d.warn("the machine's own name is no domain: set GSMTP_HOST_NAME; until then it is localhost")
		}
		d.HostName = name
	}
	if d.PrimaryHost == "" {
		d.PrimaryHost = d.HostName
	}
	return nil
}

// The default of GSMTP_MEMORY is a quarter of the memory within these bounds.
const (
	memoryShare   = 4
	mostMemory    = 256 << 20
	memoryInSizes = 4 // at least so many messages of GSMTP_MAX_SIZE
)

func (d *draft) memory() error {
	least := memoryInSizes * d.MaxSize
	if d.Memory == 0 {
		d.Memory = max(min(d.env.Memory()/memoryShare, mostMemory), least)
	}
	if d.Memory < least {
		return bad("is too small", fmt.Sprintf("want at least %d bytes, %d times GSMTP_MAX_SIZE", least, memoryInSizes))
	}
	return nil
}

// maxID is the largest user or group id; the one above means "no change" to
// the system calls.
const maxID = math.MaxUint32 - 1

func (d *draft) group() error {
	name := d.Group.Name
	if name == "" {
		return nil
	}
	gid, numeric, err := numericID(name)
	if err == nil && !numeric {
		if gid, err = d.env.Group(name); err != nil {
			return bad("is no group of this machine", "want the name or number of a group")
		}
	}
	d.Group.Num = gid
	return notRoot(gid, err, "group")
}

func (d *draft) user() error {
	name := d.User.Name
	if name == "" {
		if d.Group.Name != "" {
			return d.blameKey("SGID", bad("is given without GUID", "want both, or neither"))
		}
		return nil
	}
	uid, numeric, err := numericID(name)
	var gid int
	var unknown error
	if err == nil {
		var known int
		if known, gid, unknown = d.env.User(name); !numeric {
			uid = known
		}
	}
	if unknown != nil && !numeric {
		return bad("is no user of this machine", "want the name or number of a user")
	}
	d.User.Num = uid
	if err := notRoot(uid, err, "user"); err != nil || d.Group.Name != "" {
		return err
	}
	// The user's own group is what login(1) would give it.
	if unknown != nil {
		return bad("has no entry that names its group", "give SGID as well")
	}
	d.Group = ID{Name: strconv.Itoa(gid), Num: gid}
	return notRoot(gid, nil, "group")
}

// numericID reads an id that is given as a number.
func numericID(s string) (id int, numeric bool, err error) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxID {
		return 0, true, bad("is too large", fmt.Sprintf("want a number from 1 to %d", uint32(maxID)))
	}
	return int(n), true, nil
}

func notRoot(id int, err error, what string) error {
	if err == nil && id == 0 {
		return bad("is root", "want a "+what+" without rights")
	}
	return err
}

// credentialBound bounds a credential, in bytes.
const credentialBound = 4096

// credential takes a password from systemd where the file has none.
func (d *draft) credential(name string, pass *string) error {
	dir := d.env.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || *pass != "" {
		return nil
	}
	text, err := d.env.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return bad("the systemd credential "+name+" cannot be read: "+bare(err), "")
	}
	if len(text) > credentialBound {
		return bad("the systemd credential "+name+" is too long", fmt.Sprintf("want at most %d bytes", credentialBound))
	}
	*pass, err = anyText(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"))
	return err
}

// trust has the nginx of this machine trusted where it is expected, and warns
// of what lets everybody forge addresses.
func (d *draft) trust() error {
	if d.Trusted == nil && d.AuthHTTP.Enabled {
		d.Trusted = &Networks{nets: loopback()}
	}
	if d.Trusted == nil && d.ProxyProtocol {
		d.warn("GSMTP_PROXY_PROTOCOL is Y without GSMTP_TRUSTED_PROXIES: nobody may send a PROXY header")
	}
	if d.Trusted.everybody() {
		d.warn("GSMTP_TRUSTED_PROXIES trusts everybody: any client can say that it is another")
	}
	return nil
}

// store chooses where mail goes and checks that what it needs is there.
func (d *draft) store() error {
	if d.SaveMail == "" {
		d.SaveMail = SaveSQLite
		if len(d.MySQL.Hosts) > 0 {
			d.SaveMail = SaveMySQL
		} else if d.MySQL.DB != "" {
			d.warn("MYSQL_DB is given without MYSQL_HOST: mail goes to SQLite, not to MySQL")
		}
	}
	state, _, _ := strings.Cut(d.env.Getenv("STATE_DIRECTORY"), ":")
	if d.SQLiteFile == "" {
		d.SQLiteFile = filepath.Join(state, "mail.db")
	}
	if d.Maildir == "" {
		d.Maildir = filepath.Join(state, "Maildir")
	}
	if d.Redis.Host == "" && (d.Redis.Mode == RedisStore || d.given["REDIS_PASS"] != "" || d.Redis.Stream != "") {
		d.warn("REDIS_MODE=store, REDIS_PASS or REDIS_STREAM is given without REDIS_HOST: no mail goes to Redis")
	}
	_, _, qualified := strings.Cut(d.Table, ".")
	switch d.SaveMail {
	case SaveMySQL:
		if len(d.MySQL.Hosts) == 0 {
			return d.blameKey("MYSQL_HOST", bad("is missing", "GM_SAVE_MAIL=mysql wants host:port or /path/to.sock"))
		}
		if d.MySQL.DB == "" && !qualified {
			return d.blameKey("MYSQL_DB", bad("is missing", "GM_SAVE_MAIL=mysql wants the name of a database"))
		}
	case SaveSQLite:
		if qualified {
			return d.blameKey("GM_MAIL_TABLE", bad("names a database", "want a table alone, SQLITE_FILE is the database"))
		}
		if len(d.Table) >= 7 && strings.EqualFold(d.Table[:7], "sqlite_") {
			return d.blameKey("GM_MAIL_TABLE", bad("begins with sqlite_", "SQLite keeps such names to itself, want another"))
		}
	case SaveMaildir, SaveWebhook:
		if d.Redis.Mode == RedisStore && d.Redis.Host != "" {
			return d.blameKey("REDIS_MODE", bad("is store", "GM_SAVE_MAIL="+d.SaveMail+" has no column that the message could be taken out of, want cache"))
		}
		if d.Compress {
			d.warn("GM_MAIL_COMPRESS=Y is for tables: GM_SAVE_MAIL=" + d.SaveMail + " does not compress")
		}
		if d.SaveMail == SaveWebhook {
			return d.webhook()
		}
	case SaveDiscard:
		if d.Redis.Host != "" {
			d.warn("GM_SAVE_MAIL is discard: nothing goes to the Redis of REDIS_HOST either")
		}
	}
	return nil
}

// recipients reads the query in the language of the store's database.
func (d *draft) recipients() error {
	if d.query == "" {
		return nil
	}
	dialect := recipient.MySQL
	switch d.SaveMail {
	case SaveMySQL:
	case SaveSQLite:
		dialect = recipient.SQLite
	default:
		return bad("is given", "GM_SAVE_MAIL="+d.SaveMail+" has no database to ask, want mysql or sqlite")
	}
	q, err := recipient.Parse(d.query, dialect)
	if err != nil {
		return bad(err.Error(), "want one SELECT with the parameters :address and :domain")
	}
	if !q.Asks() {
		d.warn("GM_RECIPIENT_QUERY has neither :address nor :domain: its answer is the same for every recipient")
	}
	d.Recipients.Query = &q
	return nil
}

// webhook checks what the store of this name needs.
func (d *draft) webhook() error {
	u, err := url.Parse(d.Webhook.URL)
	if err != nil || d.Webhook.URL == "" {
		return d.blameKey("WEBHOOK_URL", bad("is missing", "GM_SAVE_MAIL=webhook wants https://host/path"))
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); u.Scheme == "http" && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		d.warn("WEBHOOK_URL is http: mail goes through the network in clear, and whoever answers is believed")
	}
	if d.Webhook.Key == nil {
		d.warn("WEBHOOK_SECRET is not given: the receiver cannot tell whose posts it gets")
	}
	return nil
}

func (d *draft) warn(sentence string) { d.Warnings = append(d.Warnings, sentence) }
