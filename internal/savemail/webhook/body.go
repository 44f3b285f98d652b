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

// fields are the JSON of the form's field envelope.
type fields struct {
	Hash        string                `json:"hash"`
	From        string                `json:"from"`
	Recipients  []string              `json:"recipients"`
	Remote      string                `json:"remote"` // address, "" for a client on a unix socket
	Helo        string                `json:"helo"`
	TLS         string                `json:"tls"` // version and cipher suite, "" in clear
	Date        string                `json:"date"`
	Size        int                   `json:"size"` // bytes of the message as it arrived
	Subject     string                `json:"subject"`
	Attachments []mailinfo.Attachment `json:"attachments"`
}

// A body is a form: the bytes before the message, the message in its own buffer,
// and the bytes after it. net/http may read a request's body after Do has returned,
// when the buffer is unmapped or holds another message. So readers copy under a lock,
// and read nothing after revoke.
type body struct {
	before, mail, behind []byte
	contentType          string

	mu      sync.Mutex
	revoked bool
}

func newBody(e *envelope.Envelope) (*body, error) {
	f := fields{
		Hash: e.To[0].Hash, From: e.From, Helo: e.Helo, TLS: e.TLS, Date: e.Date.UTC().Format(time.RFC3339),
		Size: e.Size(), Subject: e.Info.Subject, Attachments: append([]mailinfo.Attachment{}, e.Info.Attachments...),
	}
	if ip := e.Remote.Addr().Unmap().WithZone(""); ip.IsValid() {
		f.Remote = ip.String()
	}
	for _, to := range e.To {
		f.Recipients = append(f.Recipients, to.Address)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("write the envelope: %w", err)
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
		return nil, fmt.Errorf("write the form: %w", err)
	}
	b := &body{before: bytes.Clone(form.Bytes()), mail: e.Blob(0), contentType: w.FormDataContentType()}
	form.Reset()
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write the form: %w", err)
	}
	b.behind = form.Bytes()
	return b, nil
}

// errRevoked ends a request whose outcome is known.
var errRevoked = errors.New("the message is no longer there")

// reader returns the form from its beginning.
func (b *body) reader() io.ReadCloser {
	return &reader{body: b, form: io.MultiReader(bytes.NewReader(b.before), bytes.NewReader(b.mail), bytes.NewReader(b.behind))}
}

// revoke ends all readers. Nothing reads the message after it has returned.
func (b *body) revoke() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revoked = true
}

// A reader has no WriteTo method, which would lend the message's own bytes to the
// connection.
type reader struct {
	body *body
	form io.Reader
}

// Read copies what is left of the form, as long as the body is not revoked.
func (r *reader) Read(p []byte) (int, error) {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	if r.body.revoked {
		return 0, errRevoked
	}
	return r.form.Read(p)
}

// Close does nothing.
func (r *reader) Close() error { return nil }

func (b *body) size() int64 { return int64(len(b.before) + len(b.mail) + len(b.behind)) }

// sign is the signature of version 1 of the Standard Webhooks convention.
func (s *Store) sign(id, timestamp string, b *body) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(b.before)
	h.Write(b.mail)
	h.Write(b.behind)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}
