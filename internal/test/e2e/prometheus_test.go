package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// prometheusFile returns the path of a file of packaging/prometheus.
func prometheusFile(t *testing.T, name string) string {
	t.Helper()
	root, err := test.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "packaging/prometheus", name)
}

// TestAlerts runs the unit tests of the alerts.
func TestAlerts(t *testing.T) {
	test.Need(t, "promtool")
	cmd := exec.Command("promtool", "test", "rules", filepath.Base(prometheusFile(t, "alerts_test.yml")))
	cmd.Dir = filepath.Dir(prometheusFile(t, "alerts_test.yml"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// TestPrometheus runs Prometheus with a daemon: the metrics pass promtool's check, the
// alerts are loaded and inactive, and every query of the dashboard returns a series.
func TestPrometheus(t *testing.T) {
	test.Need(t, "promtool")
	addr := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	d := newDaemon(t, map[string]string{"GM_METRICS": addr, "GM_KEEP_HOURS": "1"})
	cert := test.NewCertificate(t, d.Dir, "mail")
	d.Configure(t, map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile})
	d.Start(t)
	prometheus := servers.Prometheus(t, addr, prometheusFile(t, "alerts.yml"))

	r, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = r.Body
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}

	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, State string }
			}
		}
	}
	test.Await(t, nil, 30*time.Second, "waiting for the states of the alerts", func() error {
		if err := query(prometheus, "/api/v1/rules", &rules); err != nil {
			return err
		}
		for _, r := range rules.Data.Groups[0].Rules {
			if r.Health != "ok" || r.State != "inactive" {
				return fmt.Errorf("%s: health %s, state %s, want ok and inactive", r.Name, r.Health, r.State)
			}
		}
		return nil
	})

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(prometheusFile(t, "dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries++
			expr := strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*").Replace(target.Expr)
			test.Await(t, nil, 30*time.Second, p.Title+": querying "+expr, func() error {
				sendTraffic(t, d) // so that no rate is empty
				var response struct {
					Data struct{ Result []any }
				}
				if err := query(prometheus, "/api/v1/query?query="+url.QueryEscape(expr), &response); err != nil {
					return err
				}
				if len(response.Data.Result) == 0 {
					return fmt.Errorf("no series")
				}
				return nil
			})
		}
	}
	if queries < 10 {
		t.Errorf("the dashboard has %d queries, want at least 10", queries)
	}
}

// query sends a request to the API of Prometheus and decodes the response.
func query(addr, path string, response any) error {
	r, err := http.Get("http://" + addr + path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, r.Status)
	}
	return json.NewDecoder(r.Body).Decode(response)
}

// sendTraffic sends one message and one command that is refused.
func sendTraffic(t *testing.T, d *daemon.Daemon) {
	t.Helper()
	c, err := client.Connect(d.Addr, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Send("a@example.org", "", []string{"b@example.com"}, []byte("x\r\n")); err != nil || r.Code != 250 {
		t.Fatalf("reply %v, %v, want 250", r, err)
	}
	if _, err := c.Expect(500, "WHAT"); err != nil {
		t.Fatal(err)
	}
}
