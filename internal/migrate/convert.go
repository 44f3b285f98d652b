package migrate

import (
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"goguerrillad/internal/config"
)

// converter converts one file.
type converter struct {
	keys  map[string]config.Key
	order []string // the keys in the order of the sample
	notes []string
}

func newConverter(keys []config.Key) *converter {
	c := &converter{keys: make(map[string]config.Key)}
	for _, k := range keys {
		c.keys[k.Name] = k
		c.order = append(c.order, k.Name)
	}
	return c
}

// valid reports whether the daemon accepts a value for a key.
func (c *converter) valid(key, value string) bool {
	return c.keys[key].Set(&config.Draft{}, value) == nil
}

func (c *converter) convert(document map[string]any) *Conversion {
	top := section{c, "", document}
	common := values{}
	hosts(common, top)
	logLevel(common, top)
	log := logFile(top)
	top.drop(section.none, "systemd keeps track of the process", "pid_file")
	top.drop(section.none, "GM_METRICS has a status page", "dashboard")
	backend(common, top.object("backend_config"), top.text("backend_name"))
	servers := servers(top, log)
	if slices.ContainsFunc(servers, func(s server) bool { return s.values["GSMTP_LOG_FILE"] != "" }) {
		top.note("log_file", "remove GSMTP_LOG_FILE for the service: it may write only to /var/lib/goguerrillad, and logs to the journal")
	}
	top.rest()

	conversion := &Conversion{}
	for _, s := range servers {
		maps.Copy(s.values, common)
		conversion.Files = append(conversion.Files, File{Listen: s.values[listen], Text: c.print(s.values)})
	}
	conversion.Notes = c.notes
	return conversion
}

// print returns the configuration file with the given values.
func (c *converter) print(v values) string {
	var lines []string
	for _, k := range c.order {
		if value, ok := v[k]; ok {
			quoted, _ := jsontext.AppendQuote(nil, value) // encoding/json has made it UTF-8
			lines = append(lines, `    "`+k+`": `+string(quoted))
		}
	}
	return "{\n" + strings.Join(lines, ",\n") + "\n}\n"
}

// hosts converts allowed_hosts, whose * matches any characters.
func hosts(v values, top section) {
	const key = "allowed_hosts"
	var list []string
	for _, item := range top.list(key) {
		host, ok := item.(string)
		switch host = strings.TrimSpace(host); {
		case !ok:
			top.note(key, "an element is not a string")
		case host == "*":
			list = append(list, ".")
		case strings.Contains(host, ",") || !top.valid("GM_ALLOWED_HOSTS", host):
			top.none(key, config.Printable(host)+" is neither a domain nor *. and a domain")
		case !slices.Contains(list, host):
			list = append(list, host)
		}
	}
	if list == nil {
		top.note(key, "set GM_ALLOWED_HOSTS to your domains, without it every recipient is refused")
	}
	top.set(v, "GM_ALLOWED_HOSTS", strings.Join(list, ","), key)
}

func logLevel(v values, top section) {
	const key = "log_level"
	switch strings.ToLower(top.text(key)) {
	case "", "info":
	case "debug":
		v["GSMTP_VERBOSE"] = "Y"
	default:
		top.none(key, "each line has a priority, by which journalctl -p selects")
	}
}

// logFile returns the path in log_file, or "" for standard error.
func logFile(s section) string {
	const key = "log_file"
	switch path := s.text(key); strings.ToLower(path) {
	case "", "stderr":
	case "stdout":
		s.none(key, "the log goes to standard error or to the journal")
	case "off":
		s.none(key, "the log cannot be turned off")
	default:
		if s.valid("GSMTP_LOG_FILE", path) {
			return path
		}
		s.note(key, "GSMTP_LOG_FILE does not accept the value")
	}
	return ""
}
