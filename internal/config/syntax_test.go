package config_test

import (
	"errors"
	"strings"
	"testing"

	"goguerrillad/internal/config"
	"goguerrillad/internal/stores"
)

// refused is an invalid configuration and its error without the file name.
type refused struct{ text, want string }

// checkRefused parses each configuration and compares the errors.
func checkRefused(t *testing.T, cases []refused) {
	t.Helper()
	m := newMachine()
	m.files["/key"], m.files["/cert"] = pair(t, now().AddDate(0, 1, 0))
	m.files["/otherkey"], _ = pair(t, now().AddDate(0, 1, 0))
	m.files["/empty"] = ""
	m.files["/locked"] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
	m.files["/garbled"] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	for _, c := range cases {
		_, err := stores.Parse("f", []byte(c.text), m.env())
		var e *config.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: got a %T, want a *config.Error: %v", c.text, err, err)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), "f:"); got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.text, got, c.want)
		}
		if strings.ContainsAny(err.Error(), "\n\r\t\x1b") {
			t.Errorf("%q: the error is not one printable line: %q", c.text, err)
		}
		if strings.Contains(err.Error(), "ecret") {
			t.Errorf("%q: the error contains a secret: %s", c.text, err)
		}
	}
}

// TestSyntax: the error of a syntax mistake contains its position.
func TestSyntax(t *testing.T) {
	checkRefused(t, []refused{
		// The file as a whole.
		{"", `1:1: the file is empty: want { "KEY": "value", ... }`},
		{"\n \n", `3:1: the file is empty: want { "KEY": "value", ... }`},
		{"[]", `1:1: the file does not start with {: want { "KEY": "value", ... }`},
		{`"GM_ALLOWED_HOSTS": "a.com"`, `1:1: the file does not start with {: want { "KEY": "value", ... }`},
		{"GM_ALLOWED_HOSTS = a.com", `1:1: the file does not start with {: want { "KEY": "value", ... }`},
		{"\ufeff{}", `1:1: starts with a byte order mark: want UTF-8 without BOM`},
		{"\xff\xfe{\x00}\x00", `1:1: is UTF-16: want UTF-8 without BOM`},
		{"\x00\x00", `1:1: a NUL byte: want UTF-8`},
		{"{", `1:2: the file ends before the closing }: want } at the end`},
		{"{\n\"GSMTP_TIMEOUT\": \"1\"\n", `3:1: the file ends before the closing }: want } at the end`},
		{"{\n\"GSMTP_TIMEOUT\": \"1\",\n", `3:1: the file ends before the closing }: want } at the end`},
		{"{\n\"GSMTP_TIMEOUT\":", `2:17: GSMTP_TIMEOUT: the file ends before the closing }: want } at the end`},
		{`{}}`, `1:3: text follows the closing }: want one object only`},
		{`{},`, `1:3: text follows the closing }: want one object only`},
		{"{}\n{}", `2:1: text follows the closing }: want one object only`},
		// Comments.
		{"# c\n{}", `1:1: JSON has no comments: want a file without comments`},
		{"{ // c\n}", `1:3: JSON has no comments: want a file without comments`},
		{"{} // c", `1:4: JSON has no comments: want a file without comments`},
		{"{\n  \"GSMTP_TIMEOUT\":\"1\", // c\n}", `2:24: JSON has no comments: want a file without comments`},
		{"{\n  \"GSMTP_TIMEOUT\":\"1\" // c\n}", `2:23: JSON has no comments: want a file without comments`},
		{"{\n  \"GSMTP_TIMEOUT\": /* c */ \"1\"\n}", `2:20: GSMTP_TIMEOUT: JSON has no comments: want a file without comments`},
		{"{\n  /* c */ \"GSMTP_TIMEOUT\": \"1\"\n}", `2:3: JSON has no comments: want a file without comments`},
		// Commas and colons.
		{"{\n\"GSMTP_TIMEOUT\": \"1\",\n}", `2:21: a comma after the last value: want no comma before }`},
		{"{\"GSMTP_TIMEOUT\": \"1\"\n\"GSMTP_VERBOSE\": \"N\"}", `1:22: a comma is missing here: want one comma between two keys`},
		{`{"GSMTP_TIMEOUT": "1"; "GSMTP_VERBOSE": "N"}`, `1:22: a semicolon instead of a comma: want one comma between two keys`},
		{`{"GSMTP_TIMEOUT": "1",, "GSMTP_VERBOSE": "N"}`, `1:23: a comma too many: want one comma between two keys`},
		{`{, "GSMTP_TIMEOUT": "1"}`, `1:2: a comma too many: want one comma between two keys`},
		{`{"GSMTP_TIMEOUT" "1"}`, `1:17: GSMTP_TIMEOUT: the colon and the value are missing: want "GSMTP_TIMEOUT": "value"`},
		{`{"GSMTP_TIMEOUT"}`, `1:17: GSMTP_TIMEOUT: the colon and the value are missing: want "GSMTP_TIMEOUT": "value"`},
		{`{"GSMTP_TIMEOUT" = "1"}`, `1:18: GSMTP_TIMEOUT: an equals sign instead of a colon: want "KEY": "value"`},
		{`{"GSMTP_TIMEOUT":: "1"}`, `1:18: GSMTP_TIMEOUT: the value is missing: want a string, "" for the default`},
		{`{"GSMTP_TIMEOUT":}`, `1:18: GSMTP_TIMEOUT: the value is missing: want a string, "" for the default`},
		{`{"GSMTP_TIMEOUT": "1"]`, `1:22: the value has ended, and no comma follows: want \" for a " inside a value, and one comma between two keys`},
		// Quotes.
		{`{GSMTP_TIMEOUT: "1"}`, `1:2: a key is not in double quotes: want "KEY": "value"`},
		{`{'GSMTP_TIMEOUT': "1"}`, `1:2: the wrong kind of quote: want double quotes: "`},
		{`{"GSMTP_TIMEOUT": '1'}`, `1:19: GSMTP_TIMEOUT: the wrong kind of quote: want double quotes: "`},
		{`{“GSMTP_TIMEOUT”: "1"}`, `1:2: a typographic quote: want plain double quotes: "`},
		{`{"GM_ALLOWED_HOSTS": a.com}`, `1:22: GM_ALLOWED_HOSTS: the value is not in double quotes: want "KEY": "value"`},
		{"{\"GM_ALLOWED_HOSTS\": \"a.com,\n\"GSMTP_TIMEOUT\": \"1\"}", `1:22: GM_ALLOWED_HOSTS: the closing quote is missing on this line: want "KEY": "value"`},
		{`{"GM_ALLOWED_HOSTS": "a.com`, `1:22: GM_ALLOWED_HOSTS: the closing quote is missing on this line: want "KEY": "value"`},
		{"{\"GSMTP_TIMEOUT\n\": \"1\"}", `1:2: the closing quote is missing on this line: want "KEY": "value"`},
		{`{"MYSQL_PASS": "se"cret"}`, `1:20: the value has ended, and no comma follows: want \" for a " inside a value, and one comma between two keys`},
		{`{"MYSQL_PASS": "se","cret"}`, `1:21: no key with a value follows the comma: want "KEY": "value"`},
		{`{"MYSQL_PASS": secret}`, `1:16: MYSQL_PASS: the value is not in double quotes: want "KEY": "value"`},
		// Inside a string. Columns count characters, not bytes.
		{`{"MYSQL_PASS": "se\cret"}`, `1:19: MYSQL_PASS: not an escape sequence of JSON: want \\ for a backslash, \" for a quote`},
		{`{"MYSQL_PASS": "se\ud800cret"}`, `1:19: MYSQL_PASS: not an escape sequence of JSON: want \\ for a backslash, \" for a quote`},
		{"{\"MYSQL_PASS\": \"ü\tsecret\"}", `1:18: MYSQL_PASS: a control character: want printable characters, and \t for a tab`},
		{"{\"MYSQL_PASS\": \"ü\xfcsecret\"}", `1:18: MYSQL_PASS: bytes that are not UTF-8: want UTF-8`},
		{"{\u00a0\"GSMTP_TIMEOUT\": \"1\"}", `1:2: an invisible character: want plain blanks`},
		// Values of other types.
		{`{"GSMTP_TIMEOUT": 100}`, `1:19: GSMTP_TIMEOUT: the value is a number: want a string, in double quotes`},
		{`{"MYSQL_PASS": -1}`, `1:16: MYSQL_PASS: the value is a number: want a string, in double quotes`},
		{`{"GSMTP_VERBOSE": true}`, `1:19: GSMTP_VERBOSE: the value is a boolean: want a string, in double quotes`},
		{`{"GSMTP_VERBOSE": null}`, `1:19: GSMTP_VERBOSE: the value is null: want a string, in double quotes`},
		{`{"GM_ALLOWED_HOSTS": ["a.com"]}`, `1:22: GM_ALLOWED_HOSTS: the value is a list: want a string, in double quotes`},
		{`{"GM_ALLOWED_HOSTS": {"a": "b"}}`, `1:22: GM_ALLOWED_HOSTS: the value is an object: want a string, in double quotes`},
		{`{1: "1"}`, `1:2: a key is not in double quotes: want "KEY": "value"`},
		// Keys.
		{"{\"GSMTP_TIMEOUT\": \"1\",\r\n \"GSMTP\\u005fTIMEOUT\": \"2\"}", `2:2: GSMTP_TIMEOUT: is set twice, first in line 1: want each key once`},
		{`{"GSMTP_LISTEN_INTERFACE": ":25"}`, `1:2: unknown key "GSMTP_LISTEN_INTERFACE": did you mean GSTMP_LISTEN_INTERFACE? (the typo is part of the name)`},
		{`{"GSTMP_TIMEOUT": "1"}`, `1:2: unknown key "GSTMP_TIMEOUT": did you mean GSMTP_TIMEOUT?`},
		{`{"GM_ALLOWD_HOSTS": "a.com"}`, `1:2: unknown key "GM_ALLOWD_HOSTS": did you mean GM_ALLOWED_HOSTS?`},
		{`{"gm_allowed_hosts": "a.com"}`, `1:2: unknown key "gm_allowed_hosts": did you mean GM_ALLOWED_HOSTS?`},
		{`{"GSMTP_PBU_KEY": "/cert"}`, `1:2: unknown key "GSMTP_PBU_KEY": did you mean GSMTP_PUB_KEY?`},
		{`{"GSID": "mail"}`, `1:2: unknown key "GSID": did you mean SGID?`},
		{`{"MYSQL_PASSWORD": "secret"}`, `1:2: unknown key "MYSQL_PASSWORD": did you mean MYSQL_PASS?`},
		{`{"SUID": "mail"}`, `1:2: unknown key "SUID": did you mean GUID, the user to switch to?`},
		{`{"MAX_SMTP_CLIENTS": "10000"}`, `1:2: unknown key "MAX_SMTP_CLIENTS": remove it, GM_MAX_CLIENTS is the limit`},
		{`{"PID_FILE": "/run/x"}`, `1:2: unknown key "PID_FILE": remove it, systemd keeps track of the process`},
		{`{"GM_SAVE_WORKERS": "3"}`, `1:2: unknown key "GM_SAVE_WORKERS": remove it, there is nothing to tune`},
		{`{"GM_CONN_BACKLOG": "100"}`, `1:2: unknown key "GM_CONN_BACKLOG": remove it, there is nothing to tune`},
		{`{"GSMTP_MAIL_EXPIRE_SECONDS": "1"}`, `1:2: unknown key "GSMTP_MAIL_EXPIRE_SECONDS": did you mean REDIS_EXPIRE_SECONDS?`},
		{`{"servers": [], "allowed_hosts": ["a.com"]}`, ` is a configuration of go-guerrilla 1.4 or later: goguerrillad -t -config f prints the equivalent`},
		{`{"servers": ""}`, `1:2: unknown key "servers": this is a key of go-guerrilla 1.4 or later, start from goguerrilla.conf.sample`},
		{`{"FROBNICATE_DEEPLY": "x"}`, `1:2: unknown key "FROBNICATE_DEEPLY": the nearest known key is SQLITE_FILE`},
		{"{\"\x1b[31m\": \"x\"}", `1:3: a control character: want printable characters, and \t for a tab`},
		{`{"\u001b[31m` + strings.Repeat("x", 200) + `": "x"}`, `1:2: unknown key "\x1b[31m` + strings.Repeat("x", 95) + `...": the nearest known key is GSMTP_MAX_SIZE`},
		{`{"` + strings.Repeat("X", 64) + `GM_ALLOWED_HOSTS": "x"}`, `1:2: unknown key "` + strings.Repeat("X", 64) + `GM_ALLOWED_HOSTS": the nearest known key is GSMTP_MAX_SIZE`},
	})
}

// TestAnnotated2012: the example in the README of 2012 has comments, and the error states
// that JSON has none.
func TestAnnotated2012(t *testing.T) {
	const text = `{
    "GM_ALLOWED_HOSTS":"example.com,sample.com", // which domains accepted
    "GM_MAIL_TABLE":"new_mail", // name of the table
}`
	_, err := stores.Parse("goguerrilla.conf", []byte(text), newMachine().env())
	const want = "goguerrilla.conf:2:50: JSON has no comments: want a file without comments"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
