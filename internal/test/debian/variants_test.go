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

// example installs a drop-in that the package ships.
func (m *machine) example(t *testing.T, name string) {
	t.Helper()
	m.Run(t, "mkdir -p /etc/systemd/system/goguerrillad.service.d && cp /usr/share/doc/goguerrillad/examples/"+name+
		" /etc/systemd/system/goguerrillad.service.d/ && systemctl daemon-reload")
}

// credentials: the password comes from systemd, and stands nowhere else.
func (m *machine) credentials(t *testing.T) {
	m.example(t, "credential.conf")
	defer m.noDropIn(t)
	for _, name := range []string{"mysql_pass", "redis_pass"} {
		for _, line := range strings.Split(m.Run(t, "cat /etc/systemd/system/goguerrillad.service.d/credential.conf"), "\n") {
			if rest, ok := strings.CutPrefix(line, "LoadCredential="+name+":"); ok {
				m.Write(t, rest, "secret of "+name+"\n")
				m.Run(t, "chmod 600 "+rest)
			}
		}
	}
	m.Run(t, "systemctl restart "+service)
	m.takes(t, "127.0.0.1:25")
	pid := m.show(t, service, "MainPID")
	env := strings.ReplaceAll(m.Run(t, "cat /proc/"+pid+"/environ | tr '\\0' '\\n'"), "\r", "")
	for _, line := range strings.Split(env, "\n") {
		if dir, ok := strings.CutPrefix(line, "CREDENTIALS_DIRECTORY="); ok {
			if got := m.Run(t, "cat "+dir+"/mysql_pass"); got != "secret of mysql_pass" {
				t.Errorf("credential %q", got)
			}
			return
		}
	}
	t.Errorf("no credentials: %s", env)
}

// isolated: mail comes in though the unit has no network of its own.
func (m *machine) isolated(t *testing.T) {
	m.example(t, "isolated.conf")
	defer m.noDropIn(t)
	m.Run(t, "systemctl restart "+service)
	for _, addr := range []string{"127.0.0.1:25", "[::1]:25"} {
		m.stored(t, m.takes(t, addr))
	}
	m.exposure(t, 0.2)
}

// proxySockets: the units of the pages on nginx and HAProxy, in a service that
// has no network of its own. It is mostly started by name, since systemd bounds
// how often a socket may do it.
func (m *machine) proxySockets(t *testing.T) {
	nginx, haproxy := test.ReadPage(t, "nginx.md"), test.ReadPage(t, "haproxy.md")
	const auth, port = "/etc/systemd/system/goguerrillad-auth.socket", "/etc/systemd/system/goguerrillad.socket.d/port.conf"
	m.example(t, "isolated.conf")
	defer m.noDropIn(t)
	m.configure(t, map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1,unix"})
	m.Write(t, auth, nginx.Block(t, "ini auth"))
	m.Write(t, port, nginx.Block(t, "ini port"))
	m.Run(t, "systemctl stop "+socket+"; systemctl daemon-reload; systemctl start "+socket+"; systemctl enable --now goguerrillad-auth.socket; systemctl start "+service)
	m.stored(t, m.takes(t, "127.0.0.1:2525"))
	const metrics = "/etc/systemd/system/goguerrillad-metrics.socket"
	m.Write(t, metrics, nginx.Block(t, "ini auth", "8025", "9100", "FileDescriptorName=auth_http", "FileDescriptorName=metrics"))
	m.Run(t, "systemctl stop "+service+"; systemctl daemon-reload; systemctl start goguerrillad-metrics.socket "+service)
	if got := m.get(t, "127.0.0.1:9100", "GET /healthz HTTP/1.0\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\nok\n") {
		t.Errorf("/healthz: %s", got)
	}
	ask := func() string {
		t.Helper()
		return m.get(t, "127.0.0.1:8025", "GET / HTTP/1.0\r\nAuth-Method: none\r\nAuth-Protocol: smtp\r\nAuth-SMTP-Helo: x\r\n"+
			"Auth-SMTP-From: MAIL FROM:<a@example.org>\r\nAuth-SMTP-To: RCPT TO:<b@example.com>\r\n\r\n")
	}
	if got := ask(); !strings.Contains(got, "Auth-Status: OK\r\n") || !strings.Contains(got, "Auth-Server: 127.0.0.1\r\n") || !strings.Contains(got, "Auth-Port: 2525\r\n") {
		t.Errorf("auth_http: %s", got)
	}
	// The question itself starts a service that is stopped.
	m.Run(t, "systemctl stop "+service)
	if got := ask(); !strings.Contains(got, "Auth-Status: OK\r\n") {
		t.Errorf("auth_http of a stopped service: %s", got)
	}

	m.Write(t, port, haproxy.Block(t, "ini unix", "SocketUser=haproxy", "SocketUser=nobody"))
	m.Run(t, "systemctl stop "+socket+"; systemctl daemon-reload; systemctl start "+socket+"; systemctl start "+service)
	if got := m.Run(t, "stat -c '%U %a' /run/goguerrillad/smtp.sock"); got != "nobody 600" {
		t.Errorf("the socket is %s", got)
	}
	conn, err := m.Dial("unix", "/run/goguerrillad/smtp.sock", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(conn, 20*time.Second)
	if err != nil || c.Greeting.Code != 220 {
		t.Fatalf("by the unix socket: %v", err)
	}
	c.Close()

	m.Run(t, "systemctl stop goguerrillad-metrics.socket; systemctl disable --now goguerrillad-auth.socket; rm -r "+auth+" "+metrics+" "+filepath.Dir(port)+"; systemctl stop "+socket)
	m.configure(t, map[string]string{"GSMTP_TRUSTED_PROXIES": ""})
	m.Run(t, "systemctl daemon-reload; systemctl start "+socket+"; systemctl start "+service)
	m.takes(t, "127.0.0.1:25")
}

// get sends a request of HTTP/1.0 and returns the answer.
func (m *machine) get(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := m.Dial("tcp", addr, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, request)
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// exposure wants the running service to be exposed no more than that.
func (m *machine) exposure(t *testing.T, most float64) {
	t.Helper()
	line := m.Run(t, "systemd-analyze security --no-pager "+service+" | tail -1")
	_, level, _ := strings.Cut(line, service+": ")
	var got float64
	if _, err := fmt.Sscan(level, &got); err != nil || got > most {
		t.Errorf("want an exposure of at most %v: %s", most, line)
	}
	t.Log(line)
}

// binding: without the socket unit the service binds its port itself.
func (m *machine) binding(t *testing.T) {
	m.Run(t, "systemctl stop "+socket+" "+service+" && systemctl mask "+socket)
	m.example(t, "binding.conf")
	m.configure(t, map[string]string{"GSTMP_LISTEN_INTERFACE": "[::]:25"})
	m.Run(t, "systemctl daemon-reload && systemctl start "+service)
	for _, addr := range []string{"127.0.0.1:25", "[::1]:25"} {
		m.stored(t, m.takes(t, addr))
	}
	m.powerless(t, m.show(t, service, "MainPID"))
	m.Run(t, "systemctl stop "+service+" && systemctl unmask "+socket)
	m.noDropIn(t)
	m.configure(t, map[string]string{"GSTMP_LISTEN_INTERFACE": "0.0.0.0:25"})
	m.Run(t, "systemctl start "+socket)
	m.takes(t, "127.0.0.1:25")
}

// root: the service is started as root, and becomes its user itself.
func (m *machine) root(t *testing.T) {
	m.Run(t, "systemctl stop "+socket+" "+service+" && systemctl mask "+socket)
	m.example(t, "root.conf")
	m.configure(t, map[string]string{"SGID": "goguerrilla", "GUID": "goguerrilla"})
	m.Run(t, "systemctl start "+service)
	m.stored(t, m.takes(t, "127.0.0.1:25"))
	m.powerless(t, m.show(t, service, "MainPID"), "CapBnd:\t0000000000000000", "Groups:\t ")
	m.Run(t, "systemctl reload "+service)
	m.takes(t, "127.0.0.1:25")
	m.Run(t, "systemctl stop "+service+" && systemctl unmask "+socket)
	m.noDropIn(t)
	m.configure(t, map[string]string{"SGID": "", "GUID": ""})
	m.Run(t, "systemctl start "+socket)
	m.takes(t, "127.0.0.1:25")
}

// byHand: started as root, it binds, and then becomes the configured user.
func (m *machine) byHand(t *testing.T) {
	m.Run(t, "systemctl stop "+socket+" "+service)
	m.Run(t, "install -d -o goguerrilla -g goguerrilla /run/hand && sed 's/\"SGID\": *\"[^\"]*\"/\"SGID\": \"goguerrilla\"/; s/\"GUID\": *\"[^\"]*\"/\"GUID\": \"goguerrilla\"/; "+
		"s#\"SQLITE_FILE\": *\"[^\"]*\"#\"SQLITE_FILE\": \"/run/hand/mail.db\"#' "+configFile+" >/run/hand/conf && chown root:goguerrilla /run/hand/conf && chmod 640 /run/hand/conf")
	cmd := m.Command("exec /usr/sbin/goguerrillad -config /run/hand/conf")
	p := test.Start(t, cmd)
	test.Await(t, p, 20*time.Second, "it does not listen", func() error {
		_, err := sendMail(m.Box, "127.0.0.1:25", "b@example.com")
		return err
	})
	m.takes(t, "127.0.0.1:25")
	pid := m.Run(t, "pidof goguerrillad")
	m.powerless(t, pid)
	m.Run(t, "kill -TERM "+pid)
	<-p.Done()
	m.Run(t, "systemctl start "+socket)
}
