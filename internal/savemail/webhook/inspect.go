package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
)

// inspect is savemail.Driver.Inspect. Only an operator can correct a certificate that
// cannot be verified, or https to a receiver without TLS.
func inspect(ctx context.Context, s *Store) error {
	defer s.Close()
	err := s.Check(ctx)
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("WEBHOOK_URL: %w", certificate)
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return fmt.Errorf("WEBHOOK_URL: %w", http.ErrSchemeMismatch)
	}
	return err
}
