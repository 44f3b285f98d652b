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

// packaged is a file of packaging/prometheus.
func packaged(t *testing.T, name string) string {
	t.Helper()
	root, err := test.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "packaging/prometheus", name)
}

// TestAlerts: each alert fires when it should, and not before.
func TestAlerts(t *testing.T) {
	test.Need(t, "promtool")
	cmd := exec.Command("promtool", "test", "rules", filepath.Base(packaged(t, "alerts_test.yml")))
	cmd.Dir = filepath.Dir(packaged(t, "alerts_test.yml"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// TestPrometheus has a real one look at a live daemon: the metrics are as it
// wants them, the alerts are loaded and quiet, and every plot of the dashboard
// has something to show.
func TestPrometheus(t *testing.T) {
	test.Need(t, "promtool")
	addr := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	d := newDaemon(t, map[string]string{"GM_METRICS": addr})
	cert := test.NewCertificate(t, d.Dir, "mail")
	d.Configure(t, map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile})
	d.Start(t)
	prometheus := servers.Prometheus(t, addr, packaged(t, "alerts.yml"))

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
	test.Await(t, nil, 30*time.Second, "the alerts are evaluated", func() error {
		if err := ask(prometheus, "/api/v1/rules", &rules); err != nil {
			return err
		}
		for _, r := range rules.Data.Groups[0].Rules {
			// The certificate of the test ends tomorrow.
			want := map[bool]string{true: "firing", false: "inactive"}[r.Name == "GoguerrilladCertificateEnds"]
			if r.Health != "ok" || r.State != want {
				return fmt.Errorf("%s is %s and %s", r.Name, r.Health, r.State)
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
	text, err := os.ReadFile(packaged(t, "dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			shown++
			expr := strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*").Replace(target.Expr)
			test.Await(t, nil, 30*time.Second, p.Title+" shows nothing: "+expr, func() error {
				busy(t, d) // so that there is a rate
				var answer struct {
					Data struct{ Result []any }
				}
				if err := ask(prometheus, "/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil {
					return err
				}
				if len(answer.Data.Result) == 0 {
					return fmt.Errorf("no series")
				}
				return nil
			})
		}
	}
	if shown < 10 {
		t.Errorf("%d plots", shown)
	}
}

// ask gets an answer of Prometheus's API.
func ask(addr, path string, answer any) error {
	r, err := http.Get("http://" + addr + path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, r.Status)
	}
	return json.NewDecoder(r.Body).Decode(answer)
}

// busy sends a mail and has one refused.
func busy(t *testing.T, d *daemon.Daemon) {
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
		t.Fatal(r, err)
	}
	if _, err := c.Expect(500, "WHAT"); err != nil {
		t.Fatal(err)
	}
}
