package debian

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// exampleDropIn installs a drop-in of the package's examples.
func (m *machine) exampleDropIn(t *testing.T, name string) {
	t.Helper()
	m.Run(t, "mkdir -p /etc/systemd/system/goguerrillad.service.d && cp /usr/share/doc/goguerrillad/examples/"+name+
		" /etc/systemd/system/goguerrillad.service.d/ && systemctl daemon-reload")
}

// credentials: systemd passes the passwords in files, which the service can read.
func (m *machine) credentials(t *testing.T) {
	m.exampleDropIn(t, "credential.conf")
	defer m.removeDropIns(t)
	for _, name := range []string{"mysql_pass", "redis_pass"} {
		for _, line := range strings.Split(m.Run(t, "cat /etc/systemd/system/goguerrillad.service.d/credential.conf"), "\n") {
			if rest, ok := strings.CutPrefix(line, "LoadCredential="+name+":"); ok {
				m.Write(t, rest, "secret of "+name+"\n")
				m.Run(t, "chmod 600 "+rest)
			}
		}
	}
	m.Run(t, "systemctl restart "+service)
	m.send(t, "127.0.0.1:25")
	pid := m.show(t, service, "MainPID")
	env := strings.ReplaceAll(m.Run(t, "cat /proc/"+pid+"/environ | tr '\\0' '\\n'"), "\r", "")
	for _, line := range strings.Split(env, "\n") {
		if dir, ok := strings.CutPrefix(line, "CREDENTIALS_DIRECTORY="); ok {
			if got := m.Run(t, "cat "+dir+"/mysql_pass"); got != "secret of mysql_pass" {
				t.Errorf("credential %q, want the secret of mysql_pass", got)
			}
			return
		}
	}
	t.Errorf("CREDENTIALS_DIRECTORY is not in the environment: %s", env)
}

// isolated: the service accepts messages although it has no network.
func (m *machine) isolated(t *testing.T) {
	m.exampleDropIn(t, "isolated.conf")
	defer m.removeDropIns(t)
	m.Run(t, "systemctl restart "+service)
	for _, addr := range []string{"127.0.0.1:25", "[::1]:25"} {
		m.expectStored(t, m.send(t, addr))
	}
	m.checkExposure(t, 0.2)
}

// proxySockets runs the units of nginx.md and haproxy.md with a service that has no network.
// Most steps start the service explicitly, since systemd limits the starts by a socket.
func (m *machine) proxySockets(t *testing.T) {
	nginx, haproxy := test.ReadPage(t, "nginx.md"), test.ReadPage(t, "haproxy.md")
	const auth, port = "/etc/systemd/system/goguerrillad-auth.socket", "/etc/systemd/system/goguerrillad.socket.d/port.conf"
	m.exampleDropIn(t, "isolated.conf")
	defer m.removeDropIns(t)
	m.configure(t, map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1,unix"})
	m.Write(t, auth, nginx.Block(t, "ini auth"))
	m.Write(t, port, nginx.Block(t, "ini port"))
	m.Run(t, "systemctl stop "+socket+"; systemctl daemon-reload; systemctl start "+socket+"; systemctl enable --now goguerrillad-auth.socket; systemctl start "+service)
	m.expectStored(t, m.send(t, "127.0.0.1:2525"))
	const metrics = "/etc/systemd/system/goguerrillad-metrics.socket"
	m.Write(t, metrics, nginx.Block(t, "ini auth", "8025", "9100", "FileDescriptorName=auth_http", "FileDescriptorName=metrics"))
	m.Run(t, "systemctl stop "+service+"; systemctl daemon-reload; systemctl start goguerrillad-metrics.socket "+service)
	if got := m.get(t, "127.0.0.1:9100", "GET /healthz HTTP/1.0\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\nok\n") {
		t.Errorf("/healthz: %s", got)
	}
	authHTTP := func() string {
		t.Helper()
		return m.get(t, "127.0.0.1:8025", "GET / HTTP/1.0\r\nAuth-Method: none\r\nAuth-Protocol: smtp\r\nAuth-SMTP-Helo: x\r\n"+
			"Auth-SMTP-From: MAIL FROM:<a@example.org>\r\nAuth-SMTP-To: RCPT TO:<b@example.com>\r\n\r\n")
	}
	if got := authHTTP(); !strings.Contains(got, "Auth-Status: OK\r\n") || !strings.Contains(got, "Auth-Server: 127.0.0.1\r\n") || !strings.Contains(got, "Auth-Port: 2525\r\n") {
		t.Errorf("auth_http: %s", got)
	}
	// A request to auth_http starts a stopped service.
	m.Run(t, "systemctl stop "+service)
	if got := authHTTP(); !strings.Contains(got, "Auth-Status: OK\r\n") {
		t.Errorf("auth_http after the service was stopped: %s", got)
	}

	m.Write(t, port, haproxy.Block(t, "ini unix", "SocketUser=haproxy", "SocketUser=nobody"))
	m.Run(t, "systemctl stop "+socket+"; systemctl daemon-reload; systemctl start "+socket+"; systemctl start "+service)
	if got := m.Run(t, "stat -c '%U %a' /run/goguerrillad/smtp.sock"); got != "nobody 600" {
		t.Errorf("owner and mode of the socket: %s, want nobody 600", got)
	}
	conn, err := m.Dial("unix", "/run/goguerrillad/smtp.sock", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(conn, 20*time.Second)
	if err != nil || c.Greeting.Code != 220 {
		t.Fatalf("connection to the unix socket: %v", err)
	}
	c.Close()

	m.Run(t, "systemctl stop goguerrillad-metrics.socket; systemctl disable --now goguerrillad-auth.socket; rm -r "+auth+" "+metrics+" "+filepath.Dir(port)+"; systemctl stop "+socket)
	m.configure(t, map[string]string{"GSMTP_TRUSTED_PROXIES": ""})
	m.Run(t, "systemctl daemon-reload; systemctl start "+socket+"; systemctl start "+service)
	m.send(t, "127.0.0.1:25")
}

// get sends an HTTP/1.0 request and returns the response.
func (m *machine) get(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := m.Dial("tcp", addr, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, request)
	response, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(response)
}

// checkExposure checks the exposure level of the running service.
func (m *machine) checkExposure(t *testing.T, limit float64) {
	t.Helper()
	line := m.Run(t, "systemd-analyze security --no-pager "+service+" | tail -1")
	_, level, _ := strings.Cut(line, service+": ")
	var got float64
	if _, err := fmt.Sscan(level, &got); err != nil || got > limit {
		t.Errorf("exposure level %v, want at most %v: %s", got, limit, line)
	}
	t.Log(line)
}

// binding: the service binds its port itself if the socket unit is masked.
func (m *machine) binding(t *testing.T) {
	m.Run(t, "systemctl stop "+socket+" "+service+" && systemctl mask "+socket)
	m.exampleDropIn(t, "binding.conf")
	m.configure(t, map[string]string{"GSTMP_LISTEN_INTERFACE": "[::]:25"})
	m.Run(t, "systemctl daemon-reload && systemctl start "+service)
	for _, addr := range []string{"127.0.0.1:25", "[::1]:25"} {
		m.expectStored(t, m.send(t, addr))
	}
	m.checkThreads(t, m.show(t, service, "MainPID"))
	m.Run(t, "systemctl stop "+service+" && systemctl unmask "+socket)
	m.removeDropIns(t)
	m.configure(t, map[string]string{"GSTMP_LISTEN_INTERFACE": "0.0.0.0:25"})
	m.Run(t, "systemctl start "+socket)
	m.send(t, "127.0.0.1:25")
}

// root: systemd starts the service as root, and the daemon switches to its user.
func (m *machine) root(t *testing.T) {
	m.Run(t, "systemctl stop "+socket+" "+service+" && systemctl mask "+socket)
	m.exampleDropIn(t, "root.conf")
	m.configure(t, map[string]string{"SGID": "goguerrilla", "GUID": "goguerrilla"})
	m.Run(t, "systemctl start "+service)
	m.expectStored(t, m.send(t, "127.0.0.1:25"))
	m.checkThreads(t, m.show(t, service, "MainPID"), "CapBnd:\t0000000000000000", "Groups:\t ")
	m.Run(t, "systemctl reload "+service)
	m.send(t, "127.0.0.1:25")
	m.Run(t, "systemctl stop "+service+" && systemctl unmask "+socket)
	m.removeDropIns(t)
	m.configure(t, map[string]string{"SGID": "", "GUID": ""})
	m.Run(t, "systemctl start "+socket)
	m.send(t, "127.0.0.1:25")
}

// withoutSystemd: a daemon that root starts without systemd binds its port and switches to the
// configured user.
func (m *machine) withoutSystemd(t *testing.T) {
	m.Run(t, "systemctl stop "+socket+" "+service)
	m.Run(t, "install -d -o goguerrilla -g goguerrilla /run/unmanaged && sed 's/\"SGID\": *\"[^\"]*\"/\"SGID\": \"goguerrilla\"/; s/\"GUID\": *\"[^\"]*\"/\"GUID\": \"goguerrilla\"/; "+
		"s#\"SQLITE_FILE\": *\"[^\"]*\"#\"SQLITE_FILE\": \"/run/unmanaged/mail.db\"#' "+configFile+" >/run/unmanaged/conf && chown root:goguerrilla /run/unmanaged/conf && chmod 640 /run/unmanaged/conf")
	cmd := m.Command("exec /usr/sbin/goguerrillad -config /run/unmanaged/conf")
	p := test.Start(t, cmd)
	test.Await(t, p, 20*time.Second, "waiting for the daemon", func() error {
		_, err := sendMessage(m.Box, "127.0.0.1:25", "b@example.com")
		return err
	})
	m.send(t, "127.0.0.1:25")
	pid := m.Run(t, "pidof goguerrillad")
	m.checkThreads(t, pid)
	m.Run(t, "kill -TERM "+pid)
	<-p.Done()
	m.Run(t, "systemctl start "+socket)
}
