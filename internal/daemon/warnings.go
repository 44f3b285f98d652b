package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/stores"
	"goguerrillad/internal/unit"
)

// Where is how the daemon is started.
type Where struct {
	Unprivileged bool     // not as root
	Passed       []string // names of the sockets that systemd passes: smtp, auth_http, metrics
}

// Warnings returns the warnings of a configuration on this machine: what is
// valid but probably a mistake.
func Warnings(cfg *stores.Configuration, where Where) []string {
	return warnings(cfg, limitClients(cfg, descriptorLimit()), where)
}

func warnings(cfg *stores.Configuration, limits clientLimits, where Where) []string {
	all := slices.Clip(cfg.Warnings)
	if limits.warning != "" {
		all = append(all, limits.warning)
	}
	if cfg.Hosts == nil {
		all = append(all, "GM_ALLOWED_HOSTS is empty: every recipient is refused")
	}
	if cfg.MaxClientsPerIP == 0 && cfg.Trusted == nil && slices.ContainsFunc(cfg.Listen, isPublic) {
		all = append(all, "GM_MAX_CLIENTS_PER_IP is 0: one client can use all GM_MAX_CLIENTS sessions")
	}
	if !cfg.AuthHTTP.Enabled && cfg.Changes("NGINX_AUTH") {
		all = append(all, "NGINX_AUTH has no effect: NGINX_AUTH_ENABLED is not Y")
	}
	if where.Unprivileged && cfg.User.Name != "" {
		all = append(all, "SGID and GUID have no effect: the daemon does not start as root")
	}
	for _, s := range [][2]string{{"GSTMP_LISTEN_INTERFACE", "smtp"}, {"NGINX_AUTH", "auth_http"}, {"GM_METRICS", "metrics"}} {
		if key, socket := s[0], s[1]; cfg.Changes(key) && slices.Contains(where.Passed, socket) {
			all = append(all, key+" has no effect: systemd passes the socket "+socket)
		}
	}
	all = append(all, certificateWarnings(cfg, time.Now())...)
	for _, p := range cfg.Paths() {
		if err := unit.ReadOnly(p.Path); p.Write && p.Path != "" && err != nil {
			all = append(all, fmt.Sprintf("%s cannot be written: %v", p.Key, err))
		}
	}
	return all
}

// isPublic reports whether clients on other machines can reach an address to bind.
func isPublic(address string) bool {
	host, _, _ := net.SplitHostPort(strings.TrimPrefix(address, config.ImplicitTLS))
	ip, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !ip.IsLoopback())
}
