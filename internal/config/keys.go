package config

import "time"

// Key is one key of the configuration.
type Key struct {
	Name      string
	Default   string // value that "" stands for; "" if it depends on other keys or the machine
	Derived   string // description of the default if Default is ""
	Doc       string // one line
	Since2012 bool   // one of the 20 keys of the 2012 program
	Secret    bool   // its value is never shown
	Restart   bool   // a new value takes effect only at a restart

	// Set parses a value that is not "" and stores it. It is called at most once.
	Set func(d *Draft, value string) error
}

// The bounds of the numbers.
const (
	MaxMessage = 1 << 30 // bytes: the largest max_allowed_packet of MySQL
	MaxName    = 64      // characters of a database or table name in MySQL
	maxTimeout = 24 * 60 * 60
	maxClients = 1_000_000
	maxMemory  = 1 << 40
)

// Keys returns the keys of this package: those of 2012 first.
func Keys() []Key { return append(keys2012(), keysSince()...) }

func keys2012() []Key {
	keys := []Key{
		{Name: "GM_ALLOWED_HOSTS", Derived: "none: every recipient is refused",
			Doc: "domains that receive: a comma list, *.example.com for any subdomain, . for every domain",
			Set: func(d *Draft, v string) (err error) { d.Hosts, err = ParseHosts(v); return }},
		{Name: "GM_MAIL_TABLE", Default: "new_mail",
			Doc: "table that stores the messages",
			Set: func(d *Draft, v string) error { return Into(&d.Table, v, tableName) }},
		{Name: "GM_PRIMARY_MAIL_HOST", Derived: "GSMTP_HOST_NAME",
			Doc: "domain of a postmaster without a domain",
			Set: func(d *Draft, v string) error { return Into(&d.PrimaryHost, v, hostName) }},
		{Name: "GSMTP_HOST_NAME", Derived: "GM_PRIMARY_MAIL_HOST, else the machine's full name",
			Doc: "name in the greeting and in Received",
			Set: func(d *Draft, v string) error { return Into(&d.HostName, v, hostName) }},
		{Name: "GSMTP_LOG_FILE", Derived: "standard error, or the journal when connected to it",
			Doc: "file that the log is appended to, reopened on SIGHUP",
			Set: func(d *Draft, v string) error { return Into(&d.LogFile, v, Path) }},
		{Name: "GSMTP_MAX_SIZE", Default: "26214400",
			Doc: "bytes of one message",
			Set: func(d *Draft, v string) error { return Into(&d.MaxSize, v, Number("bytes", 1, MaxMessage)) }},
		{Name: "GSMTP_PRV_KEY", Derived: "the systemd credential tls_key, else none: no STARTTLS",
			Doc: "file with the PEM private key, or a comma list; with GSMTP_PUB_KEY, STARTTLS is offered",
			Set: func(d *Draft, v string) error { return Into(&d.KeyFiles, v, paths) }},
		{Name: "GSMTP_PUB_KEY", Derived: "the systemd credential tls_cert, else none: no STARTTLS",
			Doc: "file with the PEM certificate chain, or a comma list in the order of GSMTP_PRV_KEY",
			Set: func(d *Draft, v string) error { return Into(&d.CertFiles, v, paths) }},
		{Name: "GSMTP_TIMEOUT", Default: "100",
			Doc: "seconds that a client may take for one command",
			Set: func(d *Draft, v string) error { return Into(&d.Timeout, v, Seconds(1, maxTimeout)) }},
		{Name: "GSMTP_VERBOSE", Default: "N",
			Doc: "Y logs the dialogue, without message text",
			Set: func(d *Draft, v string) error { return Into(&d.Verbose, v, YesNo) }},
		{Name: "GSTMP_LISTEN_INTERFACE", Default: "0.0.0.0:25",
			Doc: "addresses to bind: a comma list of host:port, [v6]:port, :port; sockets from systemd take precedence",
			Set: func(d *Draft, v string) (err error) { d.Listen, err = ParseListen(v); return }},
		{Name: "GM_MAX_CLIENTS", Default: "500",
			Doc: "concurrent sessions; further clients get 421",
			Set: func(d *Draft, v string) error { return Into(&d.MaxClients, v, Int("sessions", 1, maxClients)) }},
		{Name: "NGINX_AUTH_ENABLED", Default: "N",
			Doc: "Y runs the auth_http server for nginx",
			Set: func(d *Draft, v string) error { return Into(&d.AuthHTTP.Enabled, v, YesNo) }},
		{Name: "NGINX_AUTH", Default: "127.0.0.1:8025",
			Doc: "address of the auth_http server; systemd's socket auth_http takes precedence",
			Set: func(d *Draft, v string) error { return Into(&d.AuthHTTP.Listen, v, oneAddress) }},
		{Name: "SGID", Derived: "none", Restart: true,
			Doc: "group, by name or number, to switch to after binding when started as root",
			Set: func(d *Draft, v string) error { return Into(&d.Group.Name, v, account) }},
		{Name: "GUID", Derived: "none", Restart: true,
			Doc: "user, by name or number, to switch to after binding when started as root",
			Set: func(d *Draft, v string) error { return Into(&d.User.Name, v, account) }},
	}
	for i := range keys {
		keys[i].Since2012 = true
	}
	return keys
}

func keysSince() []Key {
	return []Key{
		{Name: "GM_MAX_CLIENTS_PER_IP", Default: "0",
			Doc: "concurrent sessions of one client address (/64 for IPv6), 0 for no limit",
			Set: func(d *Draft, v string) error { return Into(&d.MaxClientsPerIP, v, Int("sessions", 0, maxClients)) }},
		{Name: "GSMTP_MEMORY", Derived: "a quarter of the memory, at most 256 MiB, at least 4 times GSMTP_MAX_SIZE",
			Doc: "bytes of message text held at once, over all sessions",
			Set: func(d *Draft, v string) error { return Into(&d.Memory, v, Number("bytes", 4, maxMemory)) }},
		{Name: "NGINX_AUTH_BACKENDS", Derived: "this daemon",
			Doc: "servers that auth_http distributes sessions to: a comma list of ip:port",
			Set: func(d *Draft, v string) error { return Into(&d.AuthHTTP.Backends, v, backends) }},
		{Name: "GSMTP_TRUSTED_PROXIES", Derived: "127.0.0.0/8,::1/128 when NGINX_AUTH_ENABLED is Y, else none",
			Doc: "networks of proxies that may report a client's address: a comma list, unix for unix sockets",
			Set: func(d *Draft, v string) error { return Into(&d.Trusted, v, parseNetworks) }},
		{Name: "GSMTP_PROXY_PROTOCOL", Default: "N",
			Doc: "Y requires a PROXY header, version 1 or 2, from trusted proxies before the greeting",
			Set: func(d *Draft, v string) error { return Into(&d.ProxyProtocol, v, YesNo) }},
		{Name: "GM_METRICS", Derived: "none",
			Doc: "address of the metrics, the health check and the status page; systemd's socket metrics takes precedence",
			Set: func(d *Draft, v string) error { return Into(&d.Metrics, v, oneAddress) }},
		{Name: "GM_MAIL_COMPRESS", Default: "N",
			Doc: "Y stores messages compressed by zlib, with body=gzencode",
			Set: func(d *Draft, v string) error { return Into(&d.Compress, v, YesNo) }},
	}
}

// Into parses a value and stores the result in field.
func Into[T any](field *T, value string, parse func(string) (T, error)) error {
	v, err := parse(value)
	if err == nil {
		*field = v
	}
	return err
}

// Seconds returns a parser of a number of seconds within bounds.
func Seconds(least, most int64) func(string) (time.Duration, error) {
	number := Number("seconds", least, most)
	return func(v string) (time.Duration, error) {
		n, err := number(v)
		return time.Duration(n) * time.Second, err
	}
}

// Int is Number for an int.
func Int(unit string, least, most int64) func(string) (int, error) {
	number := Number(unit, least, most)
	return func(v string) (int, error) {
		n, err := number(v)
		return int(n), err
	}
}
