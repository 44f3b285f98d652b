package config

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

const wantKey, wantChain = "want a PEM private key", "want a PEM certificate chain"

// certificates loads the keys and the chains, and checks that each key belongs to the chain
// at the same place of the other list.
func (d *Draft) certificates() error {
	if err := d.tlsCredentials(); err != nil {
		return err
	}
	switch keys, chains := len(d.KeyFiles), len(d.CertFiles); {
	case keys == 0 && chains > 0:
		return d.Invalid("GSMTP_PUB_KEY", "is set without GSMTP_PRV_KEY", "want both, or neither")
	case keys > 0 && chains == 0:
		return Invalid("is set without GSMTP_PUB_KEY", "want both, or neither")
	case keys != chains:
		return d.Invalid("GSMTP_PUB_KEY", fmt.Sprintf("has the length %d, and GSMTP_PRV_KEY the length %d", chains, keys), "want lists of equal length")
	}
	for i := range d.KeyFiles {
		if err := d.certificate(d.KeyFiles[i], d.CertFiles[i]); err != nil {
			return err
		}
	}
	return nil
}

// tlsCredentials uses the systemd credentials tls_key and tls_cert if the file sets no key.
func (d *Draft) tlsCredentials() error {
	dir := d.env.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || len(d.KeyFiles) > 0 || len(d.CertFiles) > 0 {
		return nil
	}
	for name, files := range map[string]*[]string{"tls_key": &d.KeyFiles, "tls_cert": &d.CertFiles} {
		path := filepath.Join(dir, name)
		if _, err := d.env.ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
			*files = []string{path} // certificate reports another error
		}
	}
	return nil
}

// certificate loads a key and its chain.
func (d *Draft) certificate(keyFile, chainFile string) error {
	ofKey := func(problem, want string) error { return &fault{value: keyFile, problem: problem, want: want} }
	ofChain := func(problem, want string) error {
		return d.invalidKey("GSMTP_PUB_KEY", &fault{value: chainFile, problem: problem, want: want})
	}
	key, err := d.env.ReadFile(keyFile)
	if err != nil {
		return ofKey(unreadable(keyFile, err, wantKey))
	}
	chain, err := d.env.ReadFile(chainFile)
	switch {
	case err != nil:
		return ofChain(unreadable(chainFile, err, wantChain))
	case !hasPEM(chain, "CERTIFICATE"):
		return ofChain("is not a certificate", wantChain+", GSMTP_PRV_KEY is the key")
	case !hasPEM(key, "PRIVATE KEY"):
		return ofKey("is not a private key", wantKey+", GSMTP_PUB_KEY is the certificate")
	case bytes.Contains(key, []byte("ENCRYPTED")):
		return ofKey("is encrypted", "want a private key without a passphrase")
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		// Only the text of the error shows which file is wrong.
		text := strings.TrimPrefix(err.Error(), "tls: ")
		switch {
		case strings.Contains(text, "does not match"):
			return ofKey("does not belong to the certificate in GSMTP_PUB_KEY", "want the private key of the certificate")
		case strings.Contains(text, "private key"):
			return ofKey("is not usable, "+text, wantKey)
		}
		return ofChain("is not usable, "+text, wantChain)
	}
	d.Certificates = append(d.Certificates, pair)
	now := d.env.Now()
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		d.Warn("the certificate in GSMTP_PUB_KEY expired on " + leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		d.Warn("the certificate in GSMTP_PUB_KEY is not valid before " + leaf.NotBefore.UTC().Format(time.DateOnly))
	}
	return nil
}

// hasPEM reports whether text has a PEM block whose type ends in suffix, as
// "EC PRIVATE KEY" ends in "PRIVATE KEY".
func hasPEM(text []byte, suffix string) bool {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, suffix) {
			return true
		}
		text = rest
	}
}
