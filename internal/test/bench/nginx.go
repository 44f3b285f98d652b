package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// startNginx starts a goguerrillad that discards messages, and nginx in front of it, which
// handles TLS as docs/nginx.md describes for port 25.
func startNginx(ctx context.Context, h *harness) *server {
	auth := freeAddr(h)
	s, _ := startDaemon(ctx, h, map[string]string{"GM_SAVE_MAIL": "discard", "NGINX_AUTH_ENABLED": "Y", "NGINX_AUTH": auth})
	v4, v6 := freeAddr(h), fmt.Sprintf("[::1]:%d", test.FreePort(h))
	pair := h.certificate()
	mail := test.ReadPage(h, "nginx.md").Block(h, "nginx starttls",
		"0.0.0.0:25", v4, "[::]:25", v6, "127.0.0.1:8025", auth, "15728640", fmt.Sprint(maxMessage),
		"/etc/ssl/certs/mail.example.com.pem", pair.CertFile, "/etc/ssl/private/mail.example.com.key", pair.KeyFile,
		// The level of Debian's nginx.conf: a line for each connection would cost CPU.
		"mail {", "mail {\n    error_log "+filepath.Join(h.TempDir(), "error.log")+" error;")
	p := servers.Nginx(h, mail, v4)
	s.addr, s.parent = v4, p.Cmd.Process.Pid
	daemonOutput := s.output
	s.output = func() string { return daemonOutput() + p.Output() }
	s.version += ", " + nginxVersion(ctx)
	s.settings = []setting{{"nginx", "STARTTLS, auth_http and XCLIENT as in docs/nginx.md, a worker for each CPU; OpenSSL before 3.5 has no ML-KEM, " +
		"which the other servers use: GODEBUG=tlsmlkem=0 measures all servers without it"}}
	return s
}

// nginxVersion returns the versions of nginx and of its OpenSSL.
func nginxVersion(ctx context.Context) string {
	program, err := test.LookPath("nginx")
	if err != nil {
		return ""
	}
	text, _ := exec.CommandContext(ctx, program, "-V").CombinedOutput() // nginx writes to stderr
	lines := strings.SplitN(string(text), "\n", 3)
	return strings.Join(lines[:min(2, len(lines))], ", ")
}
