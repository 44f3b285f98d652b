package migrate_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"goguerrillad/internal/config"
	"goguerrillad/internal/migrate"
	"goguerrillad/internal/stores"
	"goguerrillad/internal/test"
)

// parse parses a file on a machine that has the key pair of the test data.
func parse(t testing.TB, text string) (*stores.Configuration, error) {
	t.Helper()
	cert := test.NewCertificate(t, t.TempDir(), "mail")
	files := map[string]string{"/etc/ssl/private/mail.key": cert.KeyFile, "/etc/ssl/certs/mail.crt": cert.CertFile}
	for name, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(pem)
	}
	return stores.Parse("conf", []byte(text), test.Environment(nil, files))
}

// TestConversions converts the files of testdata. The daemon accepts each result, and
// NAME.txt has the result and the explanations. UPDATE=1 writes these files.
func TestConversions(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.json")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no input: %v", err)
	}
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parse(t, string(text))
		const refusal = "conf: is a configuration of go-guerrilla 1.4 or later: goguerrillad -t -config conf prints the equivalent"
		var c *migrate.Conversion
		if !errors.As(err, &c) || err.Error() != refusal {
			t.Errorf("%s: the error is %v", input, err)
			continue
		}
		for _, f := range c.Files {
			if _, err := parse(t, f.Text); err != nil {
				t.Errorf("%s: %v\n%s", input, err, f.Text)
			}
		}
		var out strings.Builder
		c.Print(&out, &out)
		golden := strings.TrimSuffix(input, ".json") + ".txt"
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != string(want) {
			t.Errorf("%s: got\n%swant\n%s", input, out.String(), want)
		}
		if strings.Contains(out.String(), "ecure1t") {
			t.Errorf("%s: the result contains a password", input)
		}
	}
}

// TestRecognise: only a file with lists and objects of the other program, and without a
// key of this daemon, is recognised.
func TestRecognise(t *testing.T) {
	const known = "f: is a configuration of go-guerrilla 1.4 or later: goguerrillad -t -config f prints the equivalent"
	broken := func(position string) string {
		return "f:" + position + ": is a configuration of go-guerrilla 1.4 or later, and not JSON from here on: want JSON without comments and without a comma before } and ]"
	}
	for _, c := range []struct{ text, want string }{
		{`{"servers": []}`, known},
		{`{"pid_file": "/run/x", "allowed_hosts": ["a.com"]}`, known},
		{`{"backend_config": {}, "backend_config": {}}`, known},
		{"{\"x\": \"\xff\", \"servers\": []}", known},

		{"{\n \"allowed_hosts\": [\"a.com\"], // hosts\n}", broken("2:30")},
		{`{"servers": [{"is_enabled": true,}]}`, broken("1:34")},
		{`{"backend_config": {"mysql_pass": "`, broken("1:35")},
		{`{"servers": []} x`, broken("1:17")},

		{``, ""},
		{`{}`, ""},
		{`[{"servers": []}]`, ""},
		{`{"allowed_hosts": "a.com"}`, ""},
		{`{"servers": {}}`, ""},
		{`{"backend_config": []}`, ""},
		{`{"SERVERS": []}`, ""},
		{`{"log_file": "stderr", "pid_file": "/run/x"}`, ""},
		{`{"servers": [], "GSMTP_TIMEOUT": "1"}`, ""},
		{`{"GSMTP_TIMEOUT": "1", "servers": []}`, ""},
		{`{"gm_allowed_hosts": ["a.com"]}`, ""},
		{`{"listen_interface": [], "backend": {"backend_config": {}}}`, ""},
		{"// x\n{\"servers\": []}", ""},
	} {
		got := ""
		if err := migrate.Recognise("f", []byte(c.text), stores.Keys()); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// FuzzRecognise: every text has a result. The daemon accepts each converted file, apart
// from its key pair, and all texts for the user are printable lines.
func FuzzRecognise(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	env := test.Environment(nil, nil)
	f.Fuzz(func(t *testing.T, text string) {
		refused := migrate.Recognise("f", []byte(text), stores.Keys())
		if refused == nil {
			return
		}
		lines := []string{refused.Error()}
		var c *migrate.Conversion
		if errors.As(refused, &c) {
			lines = append(lines, c.Notes...)
			if len(c.Files) == 0 {
				t.Fatal("the conversion has no file")
			}
			for _, file := range c.Files {
				var e *config.Error
				_, err := stores.Parse("f", []byte(file.Text), env)
				if err != nil && !(errors.As(err, &e) && (e.Key == "GSMTP_PRV_KEY" || e.Key == "GSMTP_PUB_KEY")) {
					t.Fatalf("%v\n%s", err, file.Text)
				}
			}
		}
		for _, line := range lines {
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("not one printable line: %q", line)
			}
		}
	})
}
