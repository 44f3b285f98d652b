// Package webhook hands every mail to a program that speaks HTTP: one POST for
// a mail, whose answer decides what its sender hears.
package webhook

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/smtp"
)

// Writers is how many mails are posted at a time, each on a connection of its
// own or in an HTTP/2 stream. A batch is one mail: none waits for another's
// answer.
const Writers = 16

// Options say where mail goes.
type Options struct {
	URL     string // https or http
	Key     []byte // signs the posts, nil for none
	Version string // of the program, for User-Agent
	// TLS says whom to trust; nil = whom the system does.
	TLS *tls.Config
}

// Store posts mail. It holds at most Writers connections and one more.
type Store struct {
	url    string
	agent  string
	key    []byte // nil: posts are not signed
	client *http.Client
}

// Bounds of what an answer may cost.
const (
	dialTimeout   = 5 * time.Second
	headerMost    = 16 << 10 // bytes
	bodyMost      = 16 << 10 // bytes that are read, so that the connection can be kept
	bodyPatience  = time.Second
	idleTimeout   = 30 * time.Second // below that of most servers
	handshakeTime = 5 * time.Second
)

// New returns the store, which connects when there is mail.
func New(o Options) *Store {
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        o.TLS,
		TLSHandshakeTimeout:    handshakeTime,
		ForceAttemptHTTP2:      true,
		MaxConnsPerHost:        Writers + 1,
		MaxIdleConnsPerHost:    Writers + 1,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: headerMost,
		DisableCompression:     true,
	}
	return &Store{
		url: o.URL, agent: "goguerrillad/" + cmp.Or(o.Version, "unknown"), key: o.Key,
		client: &http.Client{
			Transport: transport,
			// Mail goes where the operator sent it, and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Save posts one mail after the other; the Committer gives it one at a time.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	errs := make([]error, len(batch))
	for i, e := range batch {
		errs[i] = s.post(ctx, e)
	}
	return errs
}

// refused is what a sender hears of a mail that the receiver will never take.
func refused() error {
	return fmt.Errorf("%w: %w", savemail.ErrRefused, smtp.ReplyRefused)
}

// post hands a message over. A connection that was kept may have died, which only
// the POST finds out: what has no answer at all is posted once more, under the
// same id. If a POST has left and no answer came, the receiver may have stored
// the message: unless the second POST settles it, the outcome is unknown.
func (s *Store) post(ctx context.Context, e *envelope.Envelope) error {
	body, err := newBody(e)
	if err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrRejected, err)
	}
	defer body.revoke()
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	request, err := s.request(traced, e.To[0].Hash, body)
	if err != nil {
		return fmt.Errorf("%w: make the request: %w", savemail.ErrUnavailable, secretless(err))
	}
	response, err := s.client.Do(request)
	lost := err != nil && sent.Load()
	if err != nil && ctx.Err() == nil {
		s.client.CloseIdleConnections() // they are as old
		request.Body = body.reader()
		response, err = s.client.Do(request)
		lost = lost || err != nil && sent.Load()
	}
	err = s.answer(response, err)
	if lost && err != nil && !errors.Is(err, savemail.ErrRefused) {
		return fmt.Errorf("%w: %w", savemail.ErrUnknown, err)
	}
	return err
}

// request makes the POST of a mail.
func (s *Store) request(ctx context.Context, id string, body *body) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, body.reader())
	if err != nil {
		return nil, err
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	request.ContentLength = body.size()
	request.GetBody = func() (io.ReadCloser, error) { return body.reader(), nil }
	request.Header.Set("Content-Type", body.contentType)
	request.Header.Set("User-Agent", s.agent)
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", now)
	if s.key != nil {
		request.Header.Set("Webhook-Signature", s.sign(id, now, body))
	}
	return request, nil
}

// answer makes an outcome of a response.
func (s *Store) answer(response *http.Response, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, secretless(err))
	}
	defer response.Body.Close()
	patience := time.AfterFunc(bodyPatience, func() { response.Body.Close() })
	defer patience.Stop()
	_, _ = io.CopyN(io.Discard, response.Body, bodyMost) // the status is all that counts
	switch code := response.StatusCode; {
	case code/100 == 2:
		return nil
	case code == http.StatusUnprocessableEntity:
		return refused()
	}
	return fmt.Errorf("%w: the receiver answers %.100s", savemail.ErrUnavailable, response.Status)
}

// secretless leaves the URL out, which may hold a password.
func secretless(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Check asks for nothing, and wants any answer.
func (s *Store) Check(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, s.url, nil)
	if err != nil {
		return fmt.Errorf("%w: make a request: %w", savemail.ErrUnavailable, secretless(err))
	}
	request.Header.Set("User-Agent", s.agent)
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, secretless(err))
	}
	return response.Body.Close()
}

// Close closes the connections.
func (s *Store) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
