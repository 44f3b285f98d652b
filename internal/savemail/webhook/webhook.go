// Package webhook posts each message to an HTTP server, the receiver. The
// receiver's response decides the outcome of the message.
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

// Writers is the number of messages that are posted concurrently, each on its own
// connection or HTTP/2 stream. A batch should have one message, so that no message
// waits for the response to another message.
const Writers = 16

// Options configure a Store.
type Options struct {
	URL     string      // https or http
	Key     []byte      // signs the requests; nil for no signature
	Version string      // of the daemon, for the header field User-Agent
	TLS     *tls.Config // nil to trust the certificates of the system
}

// A Store posts messages. It has at most Writers connections for messages and one
// for Check.
type Store struct {
	url    string
	agent  string
	key    []byte // nil for no signature
	client *http.Client
}

// Bounds of connections and responses.
const (
	dialTimeout       = 5 * time.Second
	handshakeTimeout  = 5 * time.Second
	idleTimeout       = 30 * time.Second // below the timeout of most servers
	maxResponseHeader = 16 << 10         // bytes
	maxResponseBody   = 16 << 10         // bytes; after a longer body the store closes the connection
	bodyTimeout       = time.Second      // of reading the response's body
)

// New returns a store, which connects at the first Check or Save.
func New(o Options) *Store {
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        o.TLS,
		TLSHandshakeTimeout:    handshakeTimeout,
		ForceAttemptHTTP2:      true,
		MaxConnsPerHost:        Writers + 1,
		MaxIdleConnsPerHost:    Writers + 1,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true,
	}
	return &Store{
		url: o.URL, agent: "goguerrillad/" + cmp.Or(o.Version, "unknown"), key: o.Key,
		client: &http.Client{
			Transport: transport,
			// A message goes only to the configured URL.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Save posts the messages one after the other.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	errs := make([]error, len(batch))
	for i, e := range batch {
		errs[i] = s.post(ctx, e)
	}
	return errs
}

// post posts a message and returns its outcome. An idle connection may be dead, so
// post repeats a POST that gets no response once, with the same id. If the store sent
// a POST that got no response, the receiver may have stored the message; the outcome
// is then ErrUnknown unless the second response accepts or refuses the message.
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
		return fmt.Errorf("%w: create the POST: %w", savemail.ErrUnavailable, withoutURL(err))
	}
	response, err := s.client.Do(request)
	unanswered := err != nil && sent.Load()
	if err != nil && ctx.Err() == nil {
		s.client.CloseIdleConnections() // they are probably dead as well
		request.Body = body.reader()
		response, err = s.client.Do(request)
		unanswered = unanswered || err != nil && sent.Load()
	}
	err = s.outcome(e, response, err)
	if unanswered && err != nil && !errors.Is(err, savemail.ErrRefused) {
		return fmt.Errorf("%w: %w", savemail.ErrUnknown, err)
	}
	return err
}

// request returns the POST of a message.
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

// outcome returns the outcome of a message for the response to its POST, or for the
// error of the request. It moves the recipients that the response refuses to e.Refused.
func (s *Store) outcome(e *envelope.Envelope, response *http.Response, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, withoutURL(err))
	}
	defer response.Body.Close()
	timer := time.AfterFunc(bodyTimeout, func() { response.Body.Close() })
	defer timer.Stop()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponseBody)) // without an unread body, the connection can be reused
	switch code := response.StatusCode; {
	case code/100 == 2 && err == nil:
		return refuse(e, response.Header.Get("Content-Type"), text)
	case code/100 == 2:
		return nil
	case code == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %w", savemail.ErrRefused, smtp.ReplyRefused)
	}
	return fmt.Errorf("%w: the receiver responded %.100s", savemail.ErrUnavailable, response.Status)
}

// withoutURL removes the URL from an error of net/http, since the URL may contain a
// password.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Check sends a HEAD request. Any response means that the receiver is available.
func (s *Store) Check(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, s.url, nil)
	if err != nil {
		return fmt.Errorf("%w: create the HEAD: %w", savemail.ErrUnavailable, withoutURL(err))
	}
	request.Header.Set("User-Agent", s.agent)
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, withoutURL(err))
	}
	return response.Body.Close()
}

// Close closes the idle connections.
func (s *Store) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
