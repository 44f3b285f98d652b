package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"goguerrillad/internal/stores"
)

// expiryWarning is how long before its end a certificate causes a warning.
const expiryWarning = 14 * 24 * time.Hour

// certificateName returns the main name of a certificate.
func certificateName(leaf *x509.Certificate) string {
	if leaf.Subject.CommonName == "" && len(leaf.DNSNames) > 0 {
		return leaf.DNSNames[0]
	}
	return leaf.Subject.CommonName
}

// certificateWarnings returns what senders would notice about the certificates: the host name
// that none has, an end that is near, and a chain that they cannot verify.
func certificateWarnings(cfg *stores.Configuration, now time.Time) (all []string) {
	if len(cfg.Certificates) == 0 {
		return nil
	}
	var names []string
	named := false
	for i, pair := range cfg.Certificates {
		names = append(names, pair.Leaf.DNSNames...)
		named = named || pair.Leaf.VerifyHostname(cfg.HostName) == nil
		if left := pair.Leaf.NotAfter.Sub(now); left > 0 && left < expiryWarning {
			all = append(all, fmt.Sprintf("the certificate in %s ends on %s", cfg.CertFiles[i], pair.Leaf.NotAfter.UTC().Format(time.DateOnly)))
		}
		if problem := chainProblem(pair); problem != "" {
			all = append(all, "the certificate chain in "+cfg.CertFiles[i]+" "+problem)
		}
	}
	if !named {
		slices.Sort(names)
		all = append(all, fmt.Sprintf("no certificate in GSMTP_PUB_KEY has the name %s of GSMTP_HOST_NAME, but %s", cfg.HostName, strings.Join(slices.Compact(names), ", ")))
	}
	return all
}

// chainProblem returns why clients may not be able to verify a chain, or "".
func chainProblem(pair tls.Certificate) string {
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return "has a certificate that cannot be parsed: " + err.Error()
		}
		chain = append(chain, c)
	}
	for i := 1; i < len(chain); i++ {
		if chain[i-1].CheckSignatureFrom(chain[i]) != nil {
			return fmt.Sprintf("is out of order: certificate %d (%s) has not issued certificate %d (%s)", i+1, chain[i].Subject, i, chain[i-1].Subject)
		}
	}
	last := chain[len(chain)-1]
	if string(last.RawIssuer) == string(last.RawSubject) {
		return ""
	}
	_, err := last.Verify(x509.VerifyOptions{CurrentTime: last.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return fmt.Sprintf("is incomplete: the certificate of its issuer is missing (%s), unless senders trust it", last.Issuer)
	}
	return ""
}
