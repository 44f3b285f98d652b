package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"testing"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/stores"
)

// now is the time in all tests of this package.
func now() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

// fakeMachine is the content of an Environment.
type fakeMachine struct {
	vars   map[string]string
	files  map[string]string
	fqdn   string
	memory int64
}

func (m fakeMachine) env() config.Environment {
	return config.Environment{
		Getenv: func(name string) string { return m.vars[name] },
		ReadFile: func(path string) ([]byte, error) {
			if path == "/forbidden" {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
			}
			text, ok := m.files[path]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
			return []byte(text), nil
		},
		Now:    now,
		Memory: func() int64 { return m.memory },
		FQDN:   func() string { return m.fqdn },
		User: func(name string) (int, int, error) {
			switch name {
			case "root":
				return 0, 0, nil
			case "mail", "504":
				return 504, 508, nil
			case "wheel":
				return 505, 0, nil
			}
			return 0, 0, errors.New("unknown user")
		},
		Group: func(name string) (int, error) {
			switch name {
			case "root":
				return 0, nil
			case "mail":
				return 508, nil
			}
			return 0, errors.New("unknown group")
		},
	}
}

func newMachine() fakeMachine {
	return fakeMachine{
		vars:   map[string]string{},
		files:  map[string]string{},
		fqdn:   "box.example.net",
		memory: 8 << 30,
	}
}

// pair returns a key and a certificate in PEM, valid for one year until the given
// time.
func pair(t testing.TB, until time.Time) (key, cert string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mail.example.com"},
		DNSNames:     []string{"mail.example.com"},
		NotBefore:    until.AddDate(-1, 0, 0),
		NotAfter:     until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// mustParse parses text that must be valid.
func mustParse(t testing.TB, m fakeMachine, text string) *stores.Configuration {
	t.Helper()
	c, err := stores.Parse("f", []byte(text), m.env())
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}
