package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"sync"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
)

// envelopeFields is the JSON of the form's field envelope.
type envelopeFields struct {
	Hash        string                `json:"hash"`
	From        string                `json:"from"`
	Recipients  []string              `json:"recipients"`
	Remote      string                `json:"remote"` // the client's IP address, "" if unknown, as on a unix socket
	Helo        string                `json:"helo"`
	TLS         string                `json:"tls"`   // version and cipher suite, "" without TLS
	Login       string                `json:"login"` // at a trusted proxy, "" if none was reported
	Proxy       string                `json:"proxy"` // address of the trusted proxy, "" without a proxy
	Date        string                `json:"date"`
	Size        int                   `json:"size"` // bytes of the message as it arrived
	Subject     string                `json:"subject"`
	MessageID   string                `json:"message_id"` // without angle brackets
	ReplyTo     string                `json:"reply_to"`
	Sender      string                `json:"sender"`
	Attachments []mailinfo.Attachment `json:"attachments"`
}

// A body is a multipart form: the bytes before the message, the message in its
// own buffer, and the bytes after it. net/http may read a request's body after Do
// has returned, when the buffer may be unmapped or hold another message. Readers
// therefore copy the bytes under a lock, and read nothing after revoke.
type body struct {
	prefix, message, suffix []byte
	contentType             string

	mu      sync.Mutex
	revoked bool
}

func newBody(e *envelope.Envelope) (*body, error) {
	f := envelopeFields{
		Hash: e.To[0].Hash, From: e.From, Helo: e.Helo, TLS: e.TLS, Login: e.Login, Proxy: e.Proxy, Date: e.Date.UTC().Format(time.RFC3339),
		Size: e.Size(), Subject: e.Info.Subject, MessageID: e.Info.MessageID, ReplyTo: e.Info.ReplyTo, Sender: e.Info.Sender, Attachments: append([]mailinfo.Attachment{}, e.Info.Attachments...),
	}
	if ip := e.Client(); ip.IsValid() {
		f.Remote = ip.String()
	}
	for _, to := range e.To {
		f.Recipients = append(f.Recipients, to.Address)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode the envelope: %w", err)
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part := func(disposition, contentType string) (io.Writer, error) {
		return w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {contentType}})
	}
	p, err := part(`form-data; name="envelope"`, "application/json")
	if err == nil {
		_, err = p.Write(text)
	}
	if err == nil {
		_, err = part(`form-data; name="mail"; filename="`+f.Hash+`.eml"`, "message/rfc822")
	}
	if err != nil {
		return nil, fmt.Errorf("encode the form: %w", err)
	}
	b := &body{prefix: bytes.Clone(form.Bytes()), message: e.Blob(0), contentType: w.FormDataContentType()}
	form.Reset()
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode the form: %w", err)
	}
	b.suffix = form.Bytes()
	return b, nil
}

// errRevoked ends a request that still reads a body after revoke.
var errRevoked = errors.New("read the request body: the message has its outcome")

// reader returns a new reader of the whole form.
func (b *body) reader() io.ReadCloser {
	return &reader{body: b, form: io.MultiReader(bytes.NewReader(b.prefix), bytes.NewReader(b.message), bytes.NewReader(b.suffix))}
}

// revoke ends all readers: after it has returned, no reader reads the message.
func (b *body) revoke() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revoked = true
}

// A reader reads the form of a body. It must not have a method WriteTo, which would
// pass the message's own buffer to the connection.
type reader struct {
	body *body
	form io.Reader
}

// Read copies the next bytes of the form, or returns errRevoked.
func (r *reader) Read(p []byte) (int, error) {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	if r.body.revoked {
		return 0, errRevoked
	}
	return r.form.Read(p)
}

func (r *reader) Close() error { return nil }

// size returns the length of the form in bytes.
func (b *body) size() int64 { return int64(len(b.prefix) + len(b.message) + len(b.suffix)) }

// sign returns the signature of the Standard Webhooks convention, version 1
// (https://www.standardwebhooks.com).
func (s *Store) sign(id, timestamp string, b *body) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(b.prefix)
	h.Write(b.message)
	h.Write(b.suffix)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}
