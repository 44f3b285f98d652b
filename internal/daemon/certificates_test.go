package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/stores"
)

// An issuer signs certificates.
type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// issue returns a certificate for a name, signed by itself if i is nil.
func (i *issuer) issue(t *testing.T, name string, ends time.Time, ca bool) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: ends.AddDate(-1, 0, 0), NotAfter: ends,
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	by := i
	if by == nil {
		by = &issuer{key, template}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{key, cert}
}

// pair returns the certificate with a chain.
func (i *issuer) pair(chain ...*issuer) tls.Certificate {
	p := tls.Certificate{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key, Leaf: i.cert}
	for _, c := range chain {
		p.Certificate = append(p.Certificate, c.cert.Raw)
	}
	return p
}

// TestCertificateWarnings: a warning states what senders would notice.
func TestCertificateWarnings(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	late := now.AddDate(1, 0, 0)
	var none *issuer
	root := none.issue(t, "Root", late, true)
	middle := root.issue(t, "Middle", late, true)
	leaf := middle.issue(t, "mx.example.com", late, false)
	wild := middle.issue(t, "*.example.com", late, false)
	other := middle.issue(t, "other.example.net", late, false)
	for _, tt := range []struct {
		name  string
		pairs []tls.Certificate
		want  []string // the beginnings
	}{
		{"none", nil, nil},
		{"complete", []tls.Certificate{leaf.pair(middle, root)}, nil},
		{"self-signed", []tls.Certificate{none.issue(t, "mx.example.com", late, false).pair()}, nil},
		{"wildcard", []tls.Certificate{wild.pair(middle, root)}, nil},
		{"one of two", []tls.Certificate{other.pair(middle, root), leaf.pair(middle, root)}, nil},
		{"another name", []tls.Certificate{other.pair(middle, root)}, []string{"no certificate in GSMTP_PUB_KEY has the name mx.example.com of GSMTP_HOST_NAME, but other.example.net"}},
		{"no issuer", []tls.Certificate{leaf.pair()}, []string{"the certificate chain in chain0.pem is incomplete: the certificate of its issuer is missing (CN=Middle)"}},
		{"no root", []tls.Certificate{leaf.pair(middle)}, []string{"the certificate chain in chain0.pem is incomplete: the certificate of its issuer is missing (CN=Root)"}},
		{"out of order", []tls.Certificate{leaf.pair(root, middle)}, []string{"the certificate chain in chain0.pem is out of order: certificate 2 (CN=Root) has not issued certificate 1 (CN=mx.example.com)"}},
		{"ends soon", []tls.Certificate{leaf.pair(middle, root), middle.issue(t, "mx.example.com", now.AddDate(0, 0, 13), false).pair(middle, root)},
			[]string{"the certificate in chain1.pem ends on 2026-06-14"}},
		{"ends in 15 days", []tls.Certificate{middle.issue(t, "mx.example.com", now.AddDate(0, 0, 15), false).pair(middle, root)}, nil},
	} {
		cfg := &stores.Configuration{Config: &config.Config{HostName: "mx.example.com", Certificates: tt.pairs, CertFiles: []string{"chain0.pem", "chain1.pem"}}}
		got := certificateWarnings(cfg, now)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], tt.want[i]) {
				t.Errorf("%s: %q, want %q", tt.name, got[i], tt.want[i])
			}
		}
	}
}
