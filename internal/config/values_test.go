package config_test

import (
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"

	"goguerrillad/internal/config"
)

// TestRefusedValues: the error of an invalid value contains the position, the key, and
// the value unless it is secret.
func TestRefusedValues(t *testing.T) {
	const hosts = "want domains separated by commas, *.example.com for all subdomains, . for every domain"
	const address = "want host:port, [v6]:port or :port"
	long := strings.Repeat("a", 64)
	checkRefused(t, []refused{
		// Numbers.
		{`{"GSMTP_TIMEOUT": "abc"}`, `1:19: GSMTP_TIMEOUT: "abc" is not a whole number: want whole seconds from 1 to 86400, digits only`},
		{`{"GSMTP_TIMEOUT": "100s"}`, `1:19: GSMTP_TIMEOUT: "100s" is not a whole number: want whole seconds from 1 to 86400, digits only`},
		{`{"GSMTP_TIMEOUT": " 100"}`, `1:19: GSMTP_TIMEOUT: " 100" is not a whole number: want whole seconds from 1 to 86400, digits only`},
		{`{"GSMTP_TIMEOUT": "-1"}`, `1:19: GSMTP_TIMEOUT: "-1" is not a whole number: want whole seconds from 1 to 86400, digits only`},
		{`{"GSMTP_TIMEOUT": "0"}`, `1:19: GSMTP_TIMEOUT: "0" is too small: want whole seconds from 1 to 86400`},
		{`{"GSMTP_TIMEOUT": "86401"}`, `1:19: GSMTP_TIMEOUT: "86401" is too large: want whole seconds from 1 to 86400`},
		{`{"GSMTP_TIMEOUT": "99999999999999999999"}`, `1:19: GSMTP_TIMEOUT: "99999999999999999999" is too large: want whole seconds from 1 to 86400`},
		{`{"GSMTP_TIMEOUT": "٣"}`, `1:19: GSMTP_TIMEOUT: "٣" is not a whole number: want whole seconds from 1 to 86400, digits only`},
		{`{"GSMTP_MAX_SIZE": "10M"}`, `1:20: GSMTP_MAX_SIZE: "10M" is not a whole number: want whole bytes from 1 to 1073741824, digits only`},
		{`{"GSMTP_MAX_SIZE": "1073741825"}`, `1:20: GSMTP_MAX_SIZE: "1073741825" is too large: want whole bytes from 1 to 1073741824`},
		{`{"GM_MAX_CLIENTS": "0"}`, `1:20: GM_MAX_CLIENTS: "0" is too small: want whole sessions from 1 to 1000000`},
		{`{"GM_MAX_CLIENTS_PER_IP": "x"}`, `1:27: GM_MAX_CLIENTS_PER_IP: "x" is not a whole number: want whole sessions from 0 to 1000000, digits only`},
		{"{\"GSMTP_MAX_SIZE\": \"1000\",\n\"GSMTP_MEMORY\": \"3999\"}", `2:17: GSMTP_MEMORY: "3999" is too small: want at least 4000 bytes, 4 times GSMTP_MAX_SIZE`},
		// Words.
		{`{"GSMTP_VERBOSE": "yes"}`, `1:19: GSMTP_VERBOSE: "yes" is neither Y nor N: want Y or N`},
		{`{"GM_MAIL_COMPRESS": "1"}`, `1:22: GM_MAIL_COMPRESS: "1" is neither Y nor N: want Y or N`},
		{`{"MYSQL_TLS": "true"}`, `1:15: MYSQL_TLS: "true" is not known: want N, preferred, Y or skip-verify`},
		{`{"GM_SAVE_MAIL": "oracle"}`, `1:18: GM_SAVE_MAIL: "oracle" is not known: want postgres, mysql, sqlite, maildir, webhook or discard`},
		{`{"POSTGRES_DSN": "postgres://u:secret@h:port/d"}`, `1:18: POSTGRES_DSN: invalid port: want postgres://user@host/database or host=… dbname=…`},
		// Hosts.
		{`{"GM_ALLOWED_HOSTS": "a.com,,b.com"}`, `1:22: GM_ALLOWED_HOSTS: "a.com,,b.com" has an empty element 2: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "a.com, "}`, `1:22: GM_ALLOWED_HOSTS: "a.com, " has an empty element 2: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "a.com b.com"}`, `1:22: GM_ALLOWED_HOSTS: "a.com b.com" is not a domain, it has a character that is not allowed in a domain: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "a.com, me@b.com"}`, `1:22: GM_ALLOWED_HOSTS: "me@b.com" is an email address: want the part after the @`},
		{`{"GM_ALLOWED_HOSTS": "*"}`, `1:22: GM_ALLOWED_HOSTS: "*" is not a domain: want . for every domain`},
		{`{"GM_ALLOWED_HOSTS": "*."}`, `1:22: GM_ALLOWED_HOSTS: "*." is not a domain, it is empty: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "*a.com"}`, `1:22: GM_ALLOWED_HOSTS: "*a.com" is not a domain, it has a character that is not allowed in a domain: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "a.*"}`, `1:22: GM_ALLOWED_HOSTS: "a.*" is not a domain, it has a character that is not allowed in a domain: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "a..com"}`, `1:22: GM_ALLOWED_HOSTS: "a..com" is not a domain, it has an empty label: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "-a.com"}`, `1:22: GM_ALLOWED_HOSTS: "-a.com" is not a domain, it has a label with a hyphen at an end: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "xn--a.com"}`, `1:22: GM_ALLOWED_HOSTS: "xn--a.com" is not a domain, it is not valid in IDNA: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "` + long + `.com"}`, `1:22: GM_ALLOWED_HOSTS: "` + long + `.com" is not a domain, it has a label of more than 63 bytes: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "[1.2.3]"}`, `1:22: GM_ALLOWED_HOSTS: "[1.2.3]" is not an address literal: want [192.0.2.1] or [IPv6:2001:db8::1]`},
		{`{"GM_ALLOWED_HOSTS": "[2001:db8::1]"}`, `1:22: GM_ALLOWED_HOSTS: "[2001:db8::1]" is not an address literal: want [192.0.2.1] or [IPv6:2001:db8::1]`},
		{`{"GM_ALLOWED_HOSTS": "[IPv6:192.0.2.1]"}`, `1:22: GM_ALLOWED_HOSTS: "[IPv6:192.0.2.1]" is not an address literal: want [192.0.2.1] or [IPv6:2001:db8::1]`},
		{`{"GM_ALLOWED_HOSTS": "[IPv6:fe80::1%eth0]"}`, `1:22: GM_ALLOWED_HOSTS: "[IPv6:fe80::1%eth0]" is not an address literal: want [192.0.2.1] or [IPv6:2001:db8::1]`},
		{`{"GM_ALLOWED_HOSTS": "[fe80::1%eth0]"}`, `1:22: GM_ALLOWED_HOSTS: "[fe80::1%eth0]" is not an address literal: want [192.0.2.1] or [IPv6:2001:db8::1]`},
		{`{"GM_ALLOWED_HOSTS": "[IPv6:]"}`, `1:22: GM_ALLOWED_HOSTS: "[IPv6:]" is not an address literal: want [192.0.2.1] or [IPv6:2001:db8::1]`},
		{`{"GM_ALLOWED_HOSTS": "[192.0.2.1"}`, `1:22: GM_ALLOWED_HOSTS: "[192.0.2.1" is not an address literal: want [192.0.2.1] or [IPv6:2001:db8::1]`},
		{`{"GM_ALLOWED_HOSTS": "a\u202e.com"}`, `1:22: GM_ALLOWED_HOSTS: "a\u202e.com" is not a domain, it is not valid in IDNA: ` + hosts},
		{`{"GM_ALLOWED_HOSTS": "a.com\u0000"}`, `1:22: GM_ALLOWED_HOSTS: "a.com\x00" is not a domain, it has a character that is not allowed in a domain: ` + hosts},
		{`{"GSMTP_HOST_NAME": "mail.example.com:25"}`, `1:21: GSMTP_HOST_NAME: "mail.example.com:25" is not a domain, it has a character that is not allowed in a domain: want one domain, such as mail.example.com`},
		{`{"GM_PRIMARY_MAIL_HOST": "a.com,b.com"}`, `1:26: GM_PRIMARY_MAIL_HOST: "a.com,b.com" is not a domain, it has a character that is not allowed in a domain: want one domain, such as mail.example.com`},
		// Addresses.
		{`{"GSTMP_LISTEN_INTERFACE": "25"}`, `1:28: GSTMP_LISTEN_INTERFACE: "25" has no port: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "[::1]"}`, `1:28: GSTMP_LISTEN_INTERFACE: "[::1]" has no port: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "::1:25"}`, `1:28: GSTMP_LISTEN_INTERFACE: "::1:25" is IPv6 without brackets: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "1.2.3.4:65536"}`, `1:28: GSTMP_LISTEN_INTERFACE: "1.2.3.4:65536" has no port from 0 to 65535: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "1.2.3.4:smtp"}`, `1:28: GSTMP_LISTEN_INTERFACE: "1.2.3.4:smtp" has no port from 0 to 65535: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "1.2.3.4:+25"}`, `1:28: GSTMP_LISTEN_INTERFACE: "1.2.3.4:+25" has no port from 0 to 65535: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "1.2.3.456:25"}`, `1:28: GSTMP_LISTEN_INTERFACE: "1.2.3.456:25" is not an IPv4 address: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "[1.2.3.4]:25"}`, `1:28: GSTMP_LISTEN_INTERFACE: "[1.2.3.4]:25" has an IPv4 address in brackets: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "[x]:25"}`, `1:28: GSTMP_LISTEN_INTERFACE: "[x]:25" has no IPv6 address in its brackets: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": "a b:25"}`, `1:28: GSTMP_LISTEN_INTERFACE: "a b:25" has no host name before the port: ` + address},
		{`{"GSTMP_LISTEN_INTERFACE": ":25,:25"}`, `1:28: GSTMP_LISTEN_INTERFACE: ":25" is listed twice: want each address once`},
		{`{"GSTMP_LISTEN_INTERFACE": ":25,"}`, `1:28: GSTMP_LISTEN_INTERFACE: ":25," has an empty element 2: ` + address},
		// The database.
		{`{"MYSQL_HOST": "localhost"}`, `1:16: MYSQL_HOST: "localhost" has no port: want host:port or /path/to.sock`},
		{`{"MYSQL_HOST": ":3306"}`, `1:16: MYSQL_HOST: ":3306" has no host: want host:port or /path/to.sock`},
		{`{"MYSQL_HOST": "db:0"}`, `1:16: MYSQL_HOST: "db:0" has no port from 1 to 65535: want host:port or /path/to.sock`},
		{`{"MYSQL_HOST": "me:secret@db:3306"}`, `1:16: MYSQL_HOST: contains an @: want host:port or /path/to.sock, user and password have their own keys`},
		{`{"MYSQL_HOST": "/` + strings.Repeat("a", 107) + `"}`, `1:16: MYSQL_HOST: "/` + strings.Repeat("a", 99) + `..." is too long for a socket: want at most 107 bytes`},
		{`{"MYSQL_HOST": "db:3306"}`, ` MYSQL_DB: is missing: want the name of a database in MySQL`},
		{`{"GM_SAVE_MAIL": "mysql", "MYSQL_HOST": ""}`, `1:41: MYSQL_HOST: is missing: want host:port or /path/to.sock for GM_SAVE_MAIL=mysql`},
		{`{"MYSQL_DB": "` + long + `a"}`, `1:14: MYSQL_DB: "` + long + `a" is too long: want at most 64 characters`},
		{`{"MYSQL_USER": "\na"}`, `1:16: MYSQL_USER: "\na" has a control character: want printable characters only`},
		{`{"MYSQL_USER": "a\nb"}`, `1:16: MYSQL_USER: "a\nb" has a control character: want printable characters only`},
		{`{"MYSQL_PASS": "secret\u0000"}`, `1:16: MYSQL_PASS: has a NUL: want text without NUL`},
		{"{\"GM_MAIL_TABLE\": \"a`b\"}", "1:19: GM_MAIL_TABLE: \"a`b\" has a character that is not allowed: want letters, digits, _ and $, and one . after a database name"},
		{`{"GM_MAIL_TABLE": "größe"}`, `1:19: GM_MAIL_TABLE: "größe" has a character that is not allowed: want letters, digits, _ and $, and one . after a database name`},
		{`{"GM_MAIL_TABLE": "a.b.c"}`, `1:19: GM_MAIL_TABLE: "a.b.c" has more than one dot: want letters, digits, _ and $, and one . after a database name`},
		{`{"GM_MAIL_TABLE": ".b"}`, `1:19: GM_MAIL_TABLE: ".b" has an empty name: want letters, digits, _ and $, and one . after a database name`},
		{`{"GM_MAIL_TABLE": "` + long + `a"}`, `1:19: GM_MAIL_TABLE: "` + long + `a" is too long: want at most 64 characters a name`},
		{`{"GM_MAIL_TABLE": "mail.new_mail"}`, `1:19: GM_MAIL_TABLE: "mail.new_mail" names a database: want a table only, SQLITE_FILE is the database`},
		{`{"GM_MAIL_TABLE": "sqlite_x"}`, `1:19: GM_MAIL_TABLE: "sqlite_x" begins with sqlite_: want another name, SQLite reserves this prefix`},
		{`{"SQLITE_FILE": ":memory:"}`, `1:17: SQLITE_FILE: ":memory:" is not a file: want a path`},
		{`{"SQLITE_FILE": "/var/lib/"}`, `1:17: SQLITE_FILE: "/var/lib/" is a directory: want the path of a file`},
		{`{"GSMTP_LOG_FILE": "a\u001b[2J"}`, `1:20: GSMTP_LOG_FILE: "a\x1b[2J" has a control character: want printable characters only`},
		{`{"GSMTP_LOG_FILE": "/log "}`, `1:20: GSMTP_LOG_FILE: "/log " begins or ends with a blank: want a path without it`},
		{`{"GM_METRICS": "9100"}`, `1:16: GM_METRICS: "9100" has no port: ` + address},
		// Proxies.
		{`{"GSMTP_TRUSTED_PROXIES": "10.0.0.0/33"}`, `1:27: GSMTP_TRUSTED_PROXIES: "10.0.0.0/33" is not a network: want networks such as 192.0.2.0/24 or 2001:db8::/32, or unix`},
		{`{"GSMTP_TRUSTED_PROXIES": "10.0.0.1/8"}`, `1:27: GSMTP_TRUSTED_PROXIES: "10.0.0.1/8" has host bits: want 10.0.0.0/8`},
		{`{"GSMTP_TRUSTED_PROXIES": "::ffff:10.0.0.1"}`, `1:27: GSMTP_TRUSTED_PROXIES: "::ffff:10.0.0.1" is an IPv4-mapped IPv6 address: want the IPv4 address`},
		{`{"GSMTP_TRUSTED_PROXIES": "proxy.example"}`, `1:27: GSMTP_TRUSTED_PROXIES: "proxy.example" is not a network: want networks such as 192.0.2.0/24 or 2001:db8::/32, or unix`},
		// Redis.
		{`{"REDIS_HOST": "localhost"}`, `1:16: REDIS_HOST: "localhost" has no port: want host:port or /path/to.sock`},
		{`{"REDIS_HOST": "a:6379,b:6379"}`, `1:16: REDIS_HOST: "a:6379,b:6379" has more than one server: want one host:port or /path/to.sock`},
		{`{"REDIS_HOST": ":secret@a:6379"}`, `1:16: REDIS_HOST: contains an @: want host:port or /path/to.sock, user and password have their own keys`},
		{`{"REDIS_PASS": "secret\u0000"}`, `1:16: REDIS_PASS: has a NUL: want text without NUL`},
		{`{"REDIS_DB": "one"}`, `1:14: REDIS_DB: "one" is not a whole number: want whole numbers from 0 to 2147483647, digits only`},
		{`{"REDIS_MODE": "both"}`, `1:16: REDIS_MODE: "both" is not known: want cache or store`},
		{`{"REDIS_EXPIRE_SECONDS": "0"}`, `1:26: REDIS_EXPIRE_SECONDS: "0" is too small: want whole seconds from 1 to 2147483647`},
		// Users and groups.
		{`{"SGID": "root", "GUID": "mail"}`, `1:10: SGID: "root" is root: want an unprivileged group`},
		{`{"SGID": "0", "GUID": "mail"}`, `1:10: SGID: "0" is root: want an unprivileged group`},
		{`{"SGID": "mail", "GUID": "00"}`, `1:26: GUID: "00" is root: want an unprivileged user`},
		{`{"SGID": "mail"}`, `1:10: SGID: "mail" is set without GUID: want both, or neither`},
		{`{"GUID": "nobody"}`, `1:10: GUID: "nobody" is not a user of this machine: want the name or number of a user`},
		{`{"SGID": "nobody", "GUID": "mail"}`, `1:10: SGID: "nobody" is not a group of this machine: want the name or number of a group`},
		{`{"GUID": "wheel"}`, `1:10: GUID: "wheel" has the primary group root: want an unprivileged group in SGID`},
		{`{"GUID": "12345"}`, `1:10: GUID: "12345" has no primary group on this machine: want SGID as well`},
		{`{"GUID": "4294967295"}`, `1:10: GUID: "4294967295" is too large: want a number from 1 to 4294967294`},
		{`{"GUID": "mail,other"}`, `1:10: GUID: "mail,other" is not a name: want the name or number of one account`},
		// The certificate.
		{`{"GSMTP_PRV_KEY": "/key"}`, `1:19: GSMTP_PRV_KEY: "/key" is set without GSMTP_PUB_KEY: want both, or neither`},
		{`{"GSMTP_PUB_KEY": "/cert"}`, `1:19: GSMTP_PUB_KEY: "/cert" is set without GSMTP_PRV_KEY: want both, or neither`},
		{`{"GSMTP_PRV_KEY": "/none", "GSMTP_PUB_KEY": "/cert"}`, `1:19: GSMTP_PRV_KEY: "/none" cannot be read: file does not exist: want a PEM private key`},
		{`{"GSMTP_PRV_KEY": "/key", "GSMTP_PUB_KEY": "/forbidden"}`, `1:44: GSMTP_PUB_KEY: "/forbidden" cannot be read by the user ` + me(t) + `: permission denied at /forbidden: want a file that this user can read, such as a copy for its group`},
		{`{"GSMTP_PRV_KEY": "/otherkey", "GSMTP_PUB_KEY": "/cert"}`, `1:19: GSMTP_PRV_KEY: "/otherkey" does not belong to the certificate in GSMTP_PUB_KEY: want the private key of the certificate`},
		{`{"GSMTP_PRV_KEY": "/cert", "GSMTP_PUB_KEY": "/key"}`, `1:45: GSMTP_PUB_KEY: "/key" is not a certificate: want a PEM certificate chain, GSMTP_PRV_KEY is the key`},
		{`{"GSMTP_PRV_KEY": "/cert", "GSMTP_PUB_KEY": "/cert"}`, `1:19: GSMTP_PRV_KEY: "/cert" is not a private key: want a PEM private key, GSMTP_PUB_KEY is the certificate`},
		{`{"GSMTP_PRV_KEY": "/empty", "GSMTP_PUB_KEY": "/cert"}`, `1:19: GSMTP_PRV_KEY: "/empty" is not a private key: want a PEM private key, GSMTP_PUB_KEY is the certificate`},
		{`{"GSMTP_PRV_KEY": "/locked", "GSMTP_PUB_KEY": "/cert"}`, `1:19: GSMTP_PRV_KEY: "/locked" is encrypted: want a private key without a passphrase`},
		{`{"GSMTP_PRV_KEY": "/key", "GSMTP_PUB_KEY": "/garbled"}`, `1:44: GSMTP_PUB_KEY: "/garbled" is not usable, x509: malformed certificate: want a PEM certificate chain`},
		// Proxies.
		{`{"NGINX_AUTH": "8025"}`, `1:16: NGINX_AUTH: "8025" has no port: ` + address},
		{`{"NGINX_AUTH_BACKENDS": "mx1.example.com:25"}`, `1:25: NGINX_AUTH_BACKENDS: "mx1.example.com:25" is not an IP address and a port: want ip:port or [v6]:port`},
		{`{"NGINX_AUTH_BACKENDS": "192.0.2.1:25,0.0.0.0:25"}`, `1:25: NGINX_AUTH_BACKENDS: "0.0.0.0:25" is not an address that nginx can reach: want ip:port or [v6]:port`},
		{`{"NGINX_AUTH_BACKENDS": "192.0.2.1:25, 192.0.2.1:25"}`, `1:25: NGINX_AUTH_BACKENDS: "192.0.2.1:25" is listed twice: want each address once`},
		{`{"NGINX_AUTH_BACKENDS": "192.0.2.1:0"}`, `1:25: NGINX_AUTH_BACKENDS: "192.0.2.1:0" has no port from 1 to 65535: want ip:port or [v6]:port`},
		{`{"NGINX_AUTH_BACKENDS": ":25"}`, `1:25: NGINX_AUTH_BACKENDS: ":25" is not an IP address and a port: want ip:port or [v6]:port`},
		{`{"GSMTP_PROXY_PROTOCOL": "v2"}`, `1:26: GSMTP_PROXY_PROTOCOL: "v2" is neither Y nor N: want Y or N`},
		// Stores.
		{`{"GM_SAVE_MAIL": "webhook"}`, ` WEBHOOK_URL: is missing: want https://host/path for GM_SAVE_MAIL=webhook`},
		{`{"WEBHOOK_URL": "ftp://user:secret@host/"}`, `1:17: WEBHOOK_URL: is neither https nor http: want https://host/path, or http:// to a program on this machine`},
		{`{"WEBHOOK_URL": "https:///secret"}`, `1:17: WEBHOOK_URL: has no host: want https://host/path, or http:// to a program on this machine`},
		{`{"WEBHOOK_URL": "https://host:secret/"}`, `1:17: WEBHOOK_URL: is not a URL: want https://host/path, or http:// to a program on this machine`},
		{`{"WEBHOOK_SECRET": "whsec_!"}`, `1:20: WEBHOOK_SECRET: is not base64 after whsec_: want the key as it was issued, or text without whsec_`},
		{`{"WEBHOOK_URL": "me:secret@example.com/"}`, `1:17: WEBHOOK_URL: is neither https nor http: want https://host/path, or http:// to a program on this machine`},
		// Recipients.
		{`{"GM_RECIPIENT_QUERY": "SELECT :user"}`, `1:24: GM_RECIPIENT_QUERY: "SELECT :user" has the parameter :user: want one SELECT with the parameters :address and :domain`},
		{`{"GM_RECIPIENT_QUERY": "SELECT 'x"}`, `1:24: GM_RECIPIENT_QUERY: "SELECT 'x" has a quote that does not end: want one SELECT with the parameters :address and :domain`},
		{`{"GM_RECIPIENT_QUERY": " ;"}`, `1:24: GM_RECIPIENT_QUERY: " ;" has no statement: want one SELECT with the parameters :address and :domain`},
		{`{"GM_RECIPIENT_QUERY": "SELECT 1", "GM_SAVE_MAIL": "discard"}`, `1:24: GM_RECIPIENT_QUERY: "SELECT 1" has no database: GM_SAVE_MAIL=discard has none: want one in POSTGRES_DSN, MYSQL_HOST or SQLITE_FILE`},
		{`{"GM_KEEP_HOURS": "0"}`, `1:19: GM_KEEP_HOURS: "0" is too small: want whole hours from 1 to 1000000`},
		{`{"GM_SAVE_MAIL": "discard", "GM_KEEP_HOURS": "24"}`, `1:46: GM_KEEP_HOURS: "24" needs a store that keeps messages, and GM_SAVE_MAIL is discard: want no value`},
		{`{"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": "https://hooks.example.com/", "GM_KEEP_HOURS": "24"}`, `1:91: GM_KEEP_HOURS: "24" needs a store that keeps messages, and GM_SAVE_MAIL is webhook: want no value`},
		{`{"GM_RECIPIENT_CACHE_SECONDS": "-1"}`, `1:32: GM_RECIPIENT_CACHE_SECONDS: "-1" is not a whole number: want whole seconds from 0 to 86400, digits only`},
		// The error reports the first of two mistakes.
		{"{\"GSMTP_TIMEOUT\": \"x\",\n\"GSMTP_MAX_SIZE\": 1}", `1:19: GSMTP_TIMEOUT: "x" is not a whole number: want whole seconds from 1 to 86400, digits only`},
	})
}

// TestParseListen: ParseListen returns the addresses of a list without blanks.
func TestParseListen(t *testing.T) {
	good := map[string]int{
		"0.0.0.0:25":                       1,
		":25":                              1,
		"[::]:25":                          1,
		"[fe80::1%eth0]:2525":              1,
		"localhost:25":                     1,
		"mail.example.com:0":               1,
		"127.0.0.1:25, [::1]:25":           2,
		"127.0.0.1:0,127.0.0.1:0":          2,
		" 127.0.0.1:25 , 127.0.0.1:2525  ": 2,
	}
	for in, n := range good {
		list, err := config.ParseListen(in)
		if err != nil || len(list) != n {
			t.Errorf("%q: got %q, %v, want %d addresses", in, list, err, n)
		}
		for _, a := range list {
			if strings.TrimSpace(a) != a {
				t.Errorf("%q: the address %q has blanks", in, a)
			}
		}
	}
	const want = `"25" has no port: want host:port, [v6]:port or :port` // the flag -if prints it
	if _, err := config.ParseListen("25"); err == nil || err.Error() != want {
		t.Errorf("ParseListen(\"25\"): got %v, want %s", err, want)
	}
}

// me returns the name of the user of this process.
func me(t *testing.T) string {
	t.Helper()
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}
