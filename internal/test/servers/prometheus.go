package servers

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"goguerrillad/internal/test"
)

// Prometheus starts Prometheus and returns its address. Prometheus scrapes target every
// second as the job goguerrillad, and evaluates the rules in a file.
func Prometheus(t test.T, target, rules string) string {
	t.Helper()
	test.Need(t, "prometheus")
	dir := test.PublicDir(t)
	addr := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	conf := test.WriteFile(t, dir, "prometheus.yml", fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\n"+
		"rule_files: [%q]\nscrape_configs:\n  - job_name: goguerrillad\n    static_configs: [{targets: [%q]}]\n", rules, target))
	p := test.Start(t, exec.Command("prometheus", "--config.file="+conf, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr))
	test.Await(t, p, 30*time.Second, "wait for the port of Prometheus", test.Dial(addr))
	return addr
}
