package senders

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"goguerrillad/internal/test"
)

// Postfix runs a private Postfix that relays messages by SMTP.
func Postfix(t test.T, routes []Route) *Sender {
	t.Helper()
	addr, _, log := startPostfix(t, routes)
	return &Sender{
		Name: "postfix", UTF8: true, Log: log,
		Send: func(t test.T, m Message) { t.Helper(); inject(t, addr, m) },
	}
}

// PostfixQueue runs a private Postfix that queues the messages for a domain and discards
// them at delivery. master is the process id of its program master, the parent of all
// processes of Postfix.
func PostfixQueue(t test.T, domain string) (addr string, master int, log func() string) {
	t.Helper()
	return startPostfix(t, []Route{{Domain: domain}})
}

// startPostfix starts a Postfix with its own queue and configuration, without chroot.
// Messages of a route without an address are discarded.
func startPostfix(t test.T, routes []Route) (addr string, master int, log func() string) {
	t.Helper()
	test.NeedRoot(t)
	test.Need(t, "postfix")
	dir := test.PublicDir(t)
	for _, d := range []string{"config", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatalf("make a directory: %v", err)
		}
	}
	run(t, exec.Command("chown", "postfix", filepath.Join(dir, "data")))
	port := test.FreePort(t)
	var transport strings.Builder
	ca := ""
	for _, r := range routes {
		service := "clear"
		if r.Addr == "" {
			fmt.Fprintf(&transport, "%s discard:\n", r.Domain)
			continue
		}
		if r.CA != "" {
			ca, service = r.CA, "tls"
		}
		fmt.Fprintf(&transport, "%s %s:[127.0.0.1]:%s\n", r.Domain, service, strings.TrimPrefix(r.Addr, "127.0.0.1:"))
	}
	config := filepath.Join(dir, "config")
	test.WriteFile(t, config, "transport", transport.String())
	test.WriteFile(t, config, "main.cf", fmt.Sprintf(postfixMain, dir, ca))
	test.WriteFile(t, config, "master.cf", fmt.Sprintf(postfixMaster, port))
	program, err := test.LookPath("postfix")
	if err != nil {
		t.Fatalf("find Postfix: %v", err)
	}
	p := test.Start(t, exec.Command(program, "-c", config, "start-fg"))
	// Postfix's master is in another process group, and still runs when the started script
	// has ended.
	t.Cleanup(func() {
		if out, err := exec.Command(program, "-c", config, "stop").CombinedOutput(); err != nil {
			t.Logf("stop Postfix: %v\n%s", err, out)
		}
	})
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	log = func() string {
		text, _ := os.ReadFile(filepath.Join(dir, "mail.log"))
		return string(text) + p.Output()
	}
	test.Await(t, p, 20*time.Second, "wait for the port of Postfix", test.Dial(addr))
	text, err := os.ReadFile(filepath.Join(dir, "queue", "pid", "master.pid"))
	if err == nil {
		master, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		t.Fatalf("read the process id of Postfix: %v", err)
	}
	return addr, master, log
}

// postfixMain: the directory, the file of the certificate authority.
const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
default_transport = error:no route
transport_maps = texthash:%[1]s/config/transport
smtp_tls_CAfile = %[2]s
smtp_dns_support_level = disabled
smtp_host_lookup = native
message_size_limit = 50000000
mailbox_size_limit = 0
minimal_backoff_time = 300s
`

// postfixMaster: the port for incoming messages.
const postfixMaster = `127.0.0.1:%d inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
clear unix - - n - - smtp -o smtp_tls_security_level=none
tls unix - - n - - smtp -o smtp_tls_security_level=secure -o smtp_tls_secure_cert_match=localhost
error unix - - n - - error
discard unix - - n - - discard
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
showq unix n - n - - showq
`
