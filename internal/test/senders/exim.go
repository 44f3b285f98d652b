package senders

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"goguerrillad/internal/test"
)

// Exim runs Debian's exim4-daemon-light once for each message, with its own configuration
// and spool. Exim exits after the delivery.
func Exim(t test.T, routes []Route) *Sender {
	t.Helper()
	test.NeedRoot(t)
	test.Need(t, "exim4", "unshare")
	program, err := test.LookPath("exim4")
	if err != nil {
		t.Fatalf("find Exim: %v", err)
	}
	dir := test.PublicDir(t)
	if err := os.Chown(dir, privateID, privateID); err != nil { // Exim writes its logs as Debian-exim
		t.Fatalf("make the directory of Exim: %v", err)
	}
	var routers strings.Builder
	ca := ""
	for i, r := range routes {
		transport := "clear"
		if r.CA != "" {
			transport, ca = "tls", r.CA
		}
		fmt.Fprintf(&routers, eximRouter, i, r.Domain, strings.TrimPrefix(r.Addr, "127.0.0.1:"), transport)
	}
	config := test.WriteFile(t, dir, "exim.conf", fmt.Sprintf(eximConfig, dir, routers.String(), ca))
	return &Sender{
		Name: "exim", UTF8: true,
		Send: func(t test.T, m Message) {
			t.Helper()
			cmd := privateCommand(t, []string{"Debian-exim"}, nil, "", program, "-C", config, "-oi", "-odi", "-f", m.From, "--", m.To)
			cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(m.Text, []byte("\r\n"), []byte("\n")))
			run(t, cmd)
		},
		Log: func() string {
			files, _ := filepath.Glob(filepath.Join(dir, "log-*"))
			text := ""
			for _, f := range files {
				b, _ := os.ReadFile(f)
				text += string(b)
			}
			return text
		},
	}
}

// eximRouter: number, domain, port, transport.
const eximRouter = `
route%d:
  driver = manualroute
  domains = %s
  route_data = 127.0.0.1::%s
  self = send
  transport = %s
`

// eximConfig: directory, routers, file of the certificate authority.
const eximConfig = `
primary_hostname = exim.test
spool_directory = %[1]s/spool
log_file_path = %[1]s/log-%%s
exim_group = Debian-exim
never_users =
deliver_drop_privilege
timezone = UTC
keep_environment =
message_size_limit = 50M
local_interfaces = 127.0.0.1
trusted_users = root
untrusted_set_sender = *
local_from_check = false
smtputf8_advertise_hosts = *

begin routers
%[2]s
begin transports

clear:
  driver = smtp
  allow_localhost
  hosts_avoid_tls = *
  dnssec_request_domains =

tls:
  driver = smtp
  allow_localhost
  hosts_require_tls = *
  tls_verify_certificates = %[3]s
  tls_verify_hosts = *
  tls_verify_cert_hostnames = :
  dnssec_request_domains =

begin retry
* * F,1h,10m
`
