package config

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"strings"
	"time"
)

// certificate loads the key and the chain and checks that they match.
func (d *Draft) certificate() error {
	const wantKey, wantChain = "want a PEM private key", "want a PEM certificate chain"
	switch {
	case d.KeyFile == "" && d.CertFile == "":
		return nil
	case d.KeyFile == "":
		return d.Invalid("GSMTP_PUB_KEY", "is set without GSMTP_PRV_KEY", "want both, or neither")
	case d.CertFile == "":
		return Invalid("is set without GSMTP_PUB_KEY", "want both, or neither")
	}
	key, err := d.env.ReadFile(d.KeyFile)
	if err != nil {
		return unreadable(d.KeyFile, err, wantKey)
	}
	chain, err := d.env.ReadFile(d.CertFile)
	switch {
	case err != nil:
		return d.invalidKey("GSMTP_PUB_KEY", unreadable(d.CertFile, err, wantChain))
	case !hasPEM(chain, "CERTIFICATE"):
		return d.Invalid("GSMTP_PUB_KEY", "is not a certificate", wantChain+", GSMTP_PRV_KEY is the key")
	case !hasPEM(key, "PRIVATE KEY"):
		return Invalid("is not a private key", wantKey+", GSMTP_PUB_KEY is the certificate")
	case bytes.Contains(key, []byte("ENCRYPTED")):
		return Invalid("is encrypted", "want a private key without a passphrase")
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		// Only the text of the error shows which file is wrong.
		text := strings.TrimPrefix(err.Error(), "tls: ")
		switch {
		case strings.Contains(text, "does not match"):
			return Invalid("does not belong to the certificate in GSMTP_PUB_KEY", "want the private key of the certificate")
		case strings.Contains(text, "private key"):
			return Invalid("is not usable, "+text, wantKey)
		}
		return d.Invalid("GSMTP_PUB_KEY", "is not usable, "+text, wantChain)
	}
	d.Certificate = &pair
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
