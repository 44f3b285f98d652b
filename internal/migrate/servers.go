package migrate

import (
	"fmt"
	"strings"
)

const listen = "GSTMP_LISTEN_INTERFACE"

// A server is one server of the file in the keys of this daemon.
type server struct {
	section
	address string // "" without a usable address
	values  values // without the address
}

// servers converts the enabled servers and joins those with equal values. It returns at
// least one.
func servers(top section, log string) []server {
	const key = "servers"
	list := top.list(key)
	if len(list) == 0 { // the other program's default
		list = []any{map[string]any{"is_enabled": true, "listen_interface": "127.0.0.1:2525"}}
	}
	var plain, implicit []server
	for i, item := range list {
		fields, ok := item.(map[string]any)
		if !ok {
			top.note(fmt.Sprintf("%s[%d]", key, i), "the value is not an object")
			continue
		}
		s := section{top.converter, fmt.Sprintf("%s[%d].", key, i), fields}
		if !s.flag("is_enabled") {
			top.note(fmt.Sprintf("%s[%d]", key, i), "left out: is_enabled is not true")
			continue
		}
		if converted, tls := convertServer(s, log); tls {
			implicit = append(implicit, converted)
		} else {
			plain = append(plain, converted)
		}
	}
	switch {
	case len(plain) > 0:
	case len(implicit) > 0: // a proxy connects to it
		implicit[0].address = "127.0.0.1:2525"
		plain = implicit[:1]
	default:
		top.note(key, "no server is enabled: set %s", listen)
		plain = []server{{section: top, values: values{}}}
	}
	return join(top, plain)
}

// join joins servers with equal values to one that listens on all addresses.
func join(top section, list []server) []server {
	var joined []server
	index := map[string]int{} // by values
	taken := map[string]bool{}
	for _, s := range list {
		if taken[s.address] && s.address != "" {
			s.note("listen_interface", "left out: another server has the same address")
			continue
		}
		taken[s.address] = true
		i, known := index[fmt.Sprint(s.values)]
		if !known {
			i = len(joined)
			index[fmt.Sprint(s.values)] = i
			joined = append(joined, s)
		} else {
			joined[i].address = strings.Trim(joined[i].address+","+s.address, ",")
		}
	}
	for _, s := range joined {
		s.set(s.values, listen, s.address, "listen_interface")
	}
	if len(joined) > 1 {
		top.note("servers", "the servers differ, so there are %d files: start a daemon with each", len(joined))
	}
	return joined
}

// convertServer converts one server and reports whether it expects TLS from the first
// byte. Keys that the server does not set get the other program's default.
func convertServer(s section, log string) (converted server, implicitTLS bool) {
	v := values{"GSMTP_MAX_SIZE": "10485760", "GSMTP_TIMEOUT": "30", "GM_MAX_CLIENTS": "100"}
	converted = server{section: s, values: v}
	const address = "listen_interface"
	switch a := s.text(address); {
	case a == "":
		s.note(address, "is missing: set %s", listen)
	case strings.Contains(a, ",") || !s.valid(listen, a):
		s.note(address, "%s does not accept the value", listen)
	default:
		converted.address = a
	}
	s.set(v, "GSMTP_HOST_NAME", s.text("host_name"), "host_name")
	s.set(v, "GSMTP_MAX_SIZE", s.number("max_size"), "max_size")
	s.set(v, "GSMTP_TIMEOUT", s.number("timeout"), "timeout")
	s.set(v, "GM_MAX_CLIENTS", s.number("max_clients"), "max_clients")
	if s.given("log_file") {
		log = logFile(s)
	}
	if log != "" {
		v["GSMTP_LOG_FILE"] = log
	}
	proxies(v, s)
	implicitTLS = tls(v, s)
	s.rest()
	return converted, implicitTLS
}

// proxies converts xclient_on and proxyon. The other program trusted every client.
func proxies(v values, s section) {
	const trusted = "GSMTP_TRUSTED_PROXIES"
	for _, key := range []string{"xclient_on", "proxyon"} {
		if !s.flag(key) {
			continue
		}
		v[trusted] = ""
		if key == "proxyon" {
			v["GSMTP_PROXY_PROTOCOL"] = "Y"
		}
		s.note(key, "set %s to the addresses of the proxies: no other client may report an address", trusted)
	}
}

// tls converts the keys of TLS, which are in an object of their own since 1.6, and
// reports whether the server expects TLS from the first byte.
func tls(v values, server section) (implicit bool) {
	s := server.object("tls")
	const onKey, alwaysKey, privateKey, publicKey = "start_tls_on", "tls_always_on", "private_key_file", "public_key_file"
	for _, key := range []string{onKey, alwaysKey, privateKey, publicKey} {
		if old, ok := server.keys[key]; ok && s.keys[key] == nil {
			if s.keys == nil {
				s.keys = map[string]any{}
			}
			s.keys[key] = old
		}
		delete(server.keys, key)
	}
	start, always := s.flag(onKey), s.flag(alwaysKey)
	private, public := s.text(privateKey), s.text(publicKey)
	if always {
		s.none(alwaysKey, "nginx or HAProxy can handle TLS from the first byte: docs/nginx.md")
	}
	if start && !always {
		pair := values{}
		s.set(pair, "GSMTP_PRV_KEY", private, privateKey)
		s.set(pair, "GSMTP_PUB_KEY", public, publicKey)
		if len(pair) == 2 {
			v["GSMTP_PRV_KEY"], v["GSMTP_PUB_KEY"] = private, public
		} else {
			s.note(onKey, "set GSMTP_PRV_KEY and GSMTP_PUB_KEY, without them STARTTLS is not offered")
		}
	}
	if s.keys["client_auth_type"] == "NoClientCert" {
		delete(s.keys, "client_auth_type")
	}
	s.drop(section.none, "TLS 1.2 and 1.3 with the defaults of Go", "protocols", "ciphers", "curves", "prefer_server_cipher_suites")
	s.drop(section.none, "clients are not asked for certificates", "client_auth_type", "root_cas_file")
	s.rest()
	return always
}
