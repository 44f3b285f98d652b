package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestWebhookPage runs each receiver of webhook.md with a daemon that has the page's
// configuration.
func TestWebhookPage(t *testing.T) {
	page := test.ReadPage(t, "webhook.md")
	for _, tt := range []struct {
		language, file, port string
		url                  string
		command              []string
	}{
		{"python", "receiver.py", "port=8080", "http://%s/mail", []string{"/usr/bin/python3", "receiver.py"}},
		{"javascript", "receiver.js", "8080", "http://%s/mail", []string{"node", "receiver.js"}},
		{"php", "receiver.php", "", "http://daemon:password@%s/receiver.php", []string{"php", "-S"}},
	} {
		t.Run(tt.language, func(t *testing.T) {
			test.Need(t, tt.command[0])
			port := fmt.Sprint(test.FreePort(t))
			dir := t.TempDir()
			var pairs []string
			if tt.port != "" {
				pairs = []string{tt.port, strings.Replace(tt.port, "8080", port, 1)}
			}
			text := page.Block(t, tt.language+" receiver", pairs...)
			err := errors.Join(os.WriteFile(filepath.Join(dir, tt.file), []byte(text), 0o600), os.Mkdir(filepath.Join(dir, "mail"), 0o700))
			if err != nil {
				t.Fatal(err)
			}
			addr := "127.0.0.1:" + port
			args := tt.command[1:]
			if tt.language == "php" {
				args = append(args, addr)
			}
			cmd := exec.Command(tt.command[0], args...)
			cmd.Dir = dir
			p := test.Start(t, cmd)
			test.Await(t, p, 30*time.Second, "waiting for the receiver", test.Dial(addr))

			var keys map[string]string
			if err := json.Unmarshal([]byte(page.Block(t, "json webhook", "https://app.example.com/mail", fmt.Sprintf(tt.url, addr))), &keys); err != nil {
				t.Fatal(err)
			}
			d := newDaemon(t, keys)
			d.Start(t)
			c := connect(t, d)
			text = "Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\n\x00\xff binary\r\n.\r\n"
			r, err := c.Send("sender@example.org", "", []string{"one@example.com", "two@example.com"}, []byte(text))
			if err != nil || r.Code != 250 {
				t.Fatalf("reply %v, %v\n%s\n%s", r, err, p.Output(), d.Log())
			}
			mail, err := os.ReadFile(filepath.Join(dir, "mail", r.Hash()+".eml"))
			if err != nil || !strings.HasPrefix(string(mail), "Return-Path: <sender@example.org>\r\nDelivered-To: one@example.com\r\n") ||
				!strings.HasSuffix(string(mail), text) {
				t.Errorf("the received message is %q, %v", mail, err)
			}
			if r, err := c.Send("sender@example.org", "", []string{"nobody@example.com"}, []byte(text)); err != nil || r.Code != 550 || !strings.HasPrefix(r.Text, "5.7.1 ") {
				t.Errorf("unknown recipient: reply %v, %v, want 550 5.7.1", r, err)
			}
			r, err = c.Send("sender@example.org", "", []string{"nobody@example.com", "three@example.com"}, []byte(text))
			if err != nil || r.Code != 250 {
				t.Fatalf("one unknown recipient of two: reply %v, %v\n%s\n%s", r, err, p.Output(), d.Log())
			}
			d.AwaitLog(t, "to=three@example.com size=", 1)
			d.AwaitLog(t, "hash="+r.Hash()+" ", 1)
			d.AwaitLog(t, `msg="recipient refused by the receiver"`, 1)
			d.AwaitLog(t, "from=sender@example.org to=nobody@example.com hash=", 1)
			// The receiver refuses requests with a wrong secret or password.
			if !d.Reload(t, map[string]string{"WEBHOOK_SECRET": "another", "WEBHOOK_URL": strings.Replace(keys["WEBHOOK_URL"], "password", "wrong", 1)}) {
				t.Fatalf("reload refused:\n%s", d.Log())
			}
			if r, err := c.Send("sender@example.org", "", []string{"one@example.com"}, []byte(text)); err != nil || r.Code != 451 {
				t.Errorf("wrong secret: reply %v, %v, want 451", r, err)
			}
			p.Kill()
			if r, err := c.Send("sender@example.org", "", []string{"one@example.com"}, []byte(text)); err != nil || r.Code != 451 {
				t.Errorf("receiver killed: reply %v, %v, want 451", r, err)
			}
			if strings.Contains(d.Log(), "password") || strings.Contains(d.Log(), "MDEyMz") {
				t.Errorf("the log contains a secret\n%s", d.Log())
			}
		})
	}
}
