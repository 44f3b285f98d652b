package config

import (
	"math"
	"time"
)

// Key is one key of the configuration.
type Key struct {
	Name      string
	Default   string // what "" stands for; "" where that depends on other keys or the machine, or is nothing
	Derived   string // in words, where Default is "" and something is derived
	Doc       string // one line
	Since2012 bool   // one of the 20 keys of the 2012 program
	Secret    bool   // its value is never shown
	Reload    bool   // takes effect on SIGHUP; otherwise the program must be restarted

	take func(d *draft, value string) error
}

// The bounds of the numbers.
const (
	MaxMessage  = 1 << 30 // bytes: the most that MySQL's max_allowed_packet can be
	maxTimeout  = 24 * 60 * 60
	maxClients  = 1_000_000
	maxMemory   = 1 << 40
	maxDatabase = 64 // characters of a database or table name in MySQL
)

// Keys returns all keys: the 20 of 2012 first, then the others in the order
// in which the sample shows them.
func Keys() []Key {
	keys := append(keys2012(), keysSince()...)
	for i := range keys {
		// Becoming somebody happens once.
		keys[i].Reload = keys[i].Name != "SGID" && keys[i].Name != "GUID"
	}
	return keys
}

func keys2012() []Key {
	keys := []Key{
		{Name: "GM_ALLOWED_HOSTS", Derived: "none: every recipient is refused",
			Doc:  "domains that receive: a comma list, *.example.com for any subdomain, . for every domain",
			take: func(d *draft, v string) (err error) { d.Hosts, err = ParseHosts(v); return }},
		{Name: "GM_MAIL_TABLE", Default: "new_mail",
			Doc:  "table that mail is stored in",
			take: func(d *draft, v string) error { return set(&d.Table, v, tableName) }},
		{Name: "GM_PRIMARY_MAIL_HOST", Derived: "GSMTP_HOST_NAME",
			Doc:  "host that postmaster without a domain belongs to",
			take: func(d *draft, v string) error { return set(&d.PrimaryHost, v, hostName) }},
		{Name: "GSMTP_HOST_NAME", Derived: "GM_PRIMARY_MAIL_HOST, else the machine's full name",
			Doc:  "name in the greeting and in Received",
			take: func(d *draft, v string) error { return set(&d.HostName, v, hostName) }},
		{Name: "GSMTP_LOG_FILE", Derived: "standard error, or the journal when connected to it",
			Doc:  "file that the log is appended to, opened again on SIGHUP",
			take: func(d *draft, v string) error { return set(&d.LogFile, v, path) }},
		{Name: "GSMTP_MAX_SIZE", Default: "131072",
			Doc:  "bytes of one message",
			take: func(d *draft, v string) error { return set(&d.MaxSize, v, number("bytes", 1, MaxMessage)) }},
		{Name: "GSMTP_PRV_KEY", Derived: "none: no STARTTLS",
			Doc:  "file with the PEM private key; with GSMTP_PUB_KEY, STARTTLS is offered",
			take: func(d *draft, v string) error { return set(&d.KeyFile, v, path) }},
		{Name: "GSMTP_PUB_KEY", Derived: "none: no STARTTLS",
			Doc:  "file with the PEM certificate chain",
			take: func(d *draft, v string) error { return set(&d.CertFile, v, path) }},
		{Name: "GSMTP_TIMEOUT", Default: "100",
			Doc: "seconds that a client may take for one command",
			take: func(d *draft, v string) error {
				n, err := number("seconds", 1, maxTimeout)(v)
				d.Timeout = time.Duration(n) * time.Second
				return err
			}},
		{Name: "GSMTP_VERBOSE", Default: "N",
			Doc:  "Y logs the dialogue, without message text",
			take: func(d *draft, v string) error { return set(&d.Verbose, v, yesNo) }},
		{Name: "GSTMP_LISTEN_INTERFACE", Default: "0.0.0.0:25",
			Doc:  "addresses to bind: a comma list of host:port, [v6]:port, :port; systemd's sockets win over it",
			take: func(d *draft, v string) (err error) { d.Listen, err = ParseListen(v); return }},
		{Name: "MYSQL_HOST", Derived: "none",
			Doc:  "host:port or /path/to.sock of the database, or a comma list that is tried in order",
			take: func(d *draft, v string) (err error) { d.MySQL.Hosts, err = databaseHosts(v); return }},
		{Name: "MYSQL_USER", Derived: "none",
			Doc:  "user of the database",
			take: func(d *draft, v string) error { return set(&d.MySQL.User, v, plain) }},
		{Name: "MYSQL_PASS", Derived: "the systemd credential mysql_pass, else none", Secret: true,
			Doc:  "password of the database",
			take: func(d *draft, v string) error { return set(&d.MySQL.Pass, v, anyText) }},
		{Name: "MYSQL_DB", Derived: "none",
			Doc:  "name of the database",
			take: func(d *draft, v string) error { return set(&d.MySQL.DB, v, databaseName) }},
		{Name: "GM_MAX_CLIENTS", Default: "500",
			Doc: "sessions at a time, all others get 421",
			take: func(d *draft, v string) error {
				n, err := number("sessions", 1, maxClients)(v)
				d.MaxClients = int(n)
				return err
			}},
		{Name: "NGINX_AUTH_ENABLED", Default: "N",
			Doc:  "Y runs the server that nginx asks by auth_http",
			take: func(d *draft, v string) error { return set(&d.AuthHTTP.Enabled, v, yesNo) }},
		{Name: "NGINX_AUTH", Default: "127.0.0.1:8025",
			Doc:  "address of the auth_http server; systemd's socket auth_http wins over it",
			take: func(d *draft, v string) error { return set(&d.AuthHTTP.Listen, v, oneAddress) }},
		{Name: "SGID", Derived: "none",
			Doc:  "group, by name or number, to become after binding when started as root",
			take: func(d *draft, v string) error { return set(&d.Group.Name, v, account) }},
		{Name: "GUID", Derived: "none",
			Doc:  "user, by name or number, to become after binding when started as root",
			take: func(d *draft, v string) error { return set(&d.User.Name, v, account) }},
	}
	for i := range keys {
		keys[i].Since2012 = true
	}
	return keys
}

func keysSince() []Key {
	return []Key{
		{Name: "GM_MAX_CLIENTS_PER_IP", Default: "0",
			Doc: "sessions at a time of one client address (/64 for IPv6), 0 for no limit",
			take: func(d *draft, v string) error {
				n, err := number("sessions", 0, maxClients)(v)
				d.MaxClientsPerIP = int(n)
				return err
			}},
		{Name: "GSMTP_MEMORY", Derived: "a quarter of the memory, at most 256 MiB, at least 4 times GSMTP_MAX_SIZE",
			Doc:  "bytes of message text held at one time, over all sessions",
			take: func(d *draft, v string) error { return set(&d.Memory, v, number("bytes", 4, maxMemory)) }},
		{Name: "NGINX_AUTH_BACKENDS", Derived: "this daemon",
			Doc:  "servers to which auth_http spreads sessions: a comma list of ip:port",
			take: func(d *draft, v string) error { return set(&d.AuthHTTP.Backends, v, backends) }},
		{Name: "GSMTP_TRUSTED_PROXIES", Derived: "127.0.0.0/8,::1/128 when NGINX_AUTH_ENABLED is Y, else none",
			Doc:  "networks whose proxies may say whom they speak for: a comma list, unix for unix sockets",
			take: func(d *draft, v string) error { return set(&d.Trusted, v, parseNetworks) }},
		{Name: "GSMTP_PROXY_PROTOCOL", Default: "N",
			Doc:  "Y wants a PROXY header, version 1 or 2, of trusted proxies before the greeting",
			take: func(d *draft, v string) error { return set(&d.ProxyProtocol, v, yesNo) }},
		{Name: "GM_METRICS", Derived: "none",
			Doc:  "address of the metrics, the state of health and the status page; systemd's socket metrics wins over it",
			take: func(d *draft, v string) error { return set(&d.Metrics, v, oneAddress) }},
		{Name: "GM_SAVE_MAIL", Derived: "mysql if MYSQL_HOST is given, else sqlite",
			Doc:  "where mail is stored: mysql, sqlite, maildir, webhook, or discard to throw it away",
			take: func(d *draft, v string) error { return set(&d.SaveMail, v, saveMail) }},
		{Name: "GM_RECIPIENT_QUERY", Derived: "none: all of GM_ALLOWED_HOSTS receive",
			Doc:  "SQL with :address and :domain that the store's database is asked for each recipient, one who has no row is refused",
			take: func(d *draft, v string) error { return set(&d.query, v, anyText) }},
		{Name: "GM_RECIPIENT_CACHE_SECONDS", Default: "60",
			Doc: "seconds that an answer of the query is kept, 0 asks each time",
			take: func(d *draft, v string) error {
				n, err := number("seconds", 0, maxTimeout)(v)
				d.Recipients.Keep = time.Duration(n) * time.Second
				return err
			}},
		{Name: "GM_MAIL_COMPRESS", Default: "N",
			Doc:  "Y stores messages compressed by zlib, with body=gzencode",
			take: func(d *draft, v string) error { return set(&d.Compress, v, yesNo) }},
		{Name: "MYSQL_SPREAD", Default: "N",
			Doc:  "Y sends mail to all servers of MYSQL_HOST that take it, not to the first of them",
			take: func(d *draft, v string) error { return set(&d.MySQL.Spread, v, yesNo) }},
		{Name: "MYSQL_TLS", Default: TLSOff,
			Doc: "TLS to the database: N, preferred, Y (verified) or skip-verify",
			take: func(d *draft, v string) error {
				return set(&d.MySQL.TLS, v, oneOf(TLSOff, TLSPreferred, TLSVerify, TLSSkipVerify))
			}},
		{Name: "SQLITE_FILE", Derived: "$STATE_DIRECTORY/mail.db, else mail.db in the working directory",
			Doc:  "file of the SQLite store, created with its table",
			take: func(d *draft, v string) error { return set(&d.SQLiteFile, v, sqliteFile) }},
		{Name: "GM_MAILDIR", Derived: "$STATE_DIRECTORY/Maildir, else Maildir in the working directory",
			Doc:  "directory of the store maildir, created if it is missing",
			take: func(d *draft, v string) error { return set(&d.Maildir, v, path) }},
		{Name: "WEBHOOK_URL", Derived: "none", Secret: true,
			Doc:  "address that the store webhook posts each mail to, https or http",
			take: func(d *draft, v string) error { return set(&d.Webhook.URL, v, webhookURL) }},
		{Name: "WEBHOOK_SECRET", Derived: "none", Secret: true,
			Doc:  "key that the posts are signed with: whsec_ and base64, or any text",
			take: func(d *draft, v string) error { return set(&d.Webhook.Key, v, webhookKey) }},
		{Name: "REDIS_HOST", Derived: "none",
			Doc:  "host:port or /path/to.sock of Redis",
			take: func(d *draft, v string) error { return set(&d.Redis.Host, v, oneServer) }},
		{Name: "REDIS_PASS", Derived: "the systemd credential redis_pass, else none", Secret: true,
			Doc:  "password of Redis",
			take: func(d *draft, v string) error { return set(&d.Redis.Pass, v, anyText) }},
		{Name: "REDIS_DB", Default: "0",
			Doc: "number of the database in Redis",
			take: func(d *draft, v string) error {
				n, err := number("numbers", 0, math.MaxInt32)(v)
				d.Redis.DB = int(n)
				return err
			}},
		{Name: "REDIS_MODE", Default: RedisCache,
			Doc:  "cache: Redis gets a copy; store: the message lies there alone, and goes when Redis fails or its time is up",
			take: func(d *draft, v string) error { return set(&d.Redis.Mode, v, oneOf(RedisCache, RedisStore)) }},
		{Name: "REDIS_EXPIRE_SECONDS", Default: "3600",
			Doc: "seconds that a message stays in Redis",
			take: func(d *draft, v string) error {
				n, err := number("seconds", 1, math.MaxInt32)(v)
				d.Redis.Expire = time.Duration(n) * time.Second
				return err
			}},
		{Name: "REDIS_STREAM", Derived: "none",
			Doc:  "Redis stream that gets an entry for each row, after the commit",
			take: func(d *draft, v string) error { return set(&d.Redis.Stream, v, plain) }},
		{Name: "REDIS_STREAM_MAXLEN", Default: "100000",
			Doc:  "entries that the stream keeps, about",
			take: func(d *draft, v string) error { return set(&d.Redis.StreamMax, v, number("entries", 1, math.MaxInt32)) }},
	}
}

// set stores what parse makes of a value.
func set[T any](field *T, value string, parse func(string) (T, error)) error {
	v, err := parse(value)
	if err == nil {
		*field = v
	}
	return err
}
