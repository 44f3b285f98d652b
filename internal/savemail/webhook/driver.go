package webhook

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// Driver configures the store and selects it by GM_SAVE_MAIL=webhook.
type Driver struct {
	url string
	key []byte
}

var _ savemail.Driver = (*Driver)(nil)

// Name returns the value of GM_SAVE_MAIL.
func (*Driver) Name() string { return "webhook" }

// Features reports that there is no table.
func (*Driver) Features() savemail.Features { return savemail.Features{} }

// Keys returns WEBHOOK_URL and WEBHOOK_SECRET.
func (d *Driver) Keys() []config.Key {
	return []config.Key{
		{Name: "WEBHOOK_URL", Derived: "none", Secret: true,
			Doc: "URL that the store webhook posts each message to, https or http",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.url, v, parseURL) }},
		{Name: "WEBHOOK_SECRET", Derived: "none", Secret: true,
			Doc: "key that signs the requests: whsec_ and base64, or any text",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.key, v, parseKey) }},
	}
}

// Default returns false.
func (*Driver) Default() bool { return false }

// Check requires WEBHOOK_URL and warns of requests in clear or without a
// signature.
func (d *Driver) Check(c *config.Draft, selected bool) error {
	if !selected {
		return nil
	}
	u, err := url.Parse(d.url)
	if err != nil || d.url == "" {
		return c.Invalid("WEBHOOK_URL", "is missing", "GM_SAVE_MAIL=webhook needs https://host/path")
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); u.Scheme == "http" && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		c.Warn("WEBHOOK_URL is http: messages cross the network in clear, and the receiver is not authenticated")
	}
	if d.key == nil {
		c.Warn("WEBHOOK_SECRET is not set: the receiver cannot tell who sent a request")
	}
	return nil
}

// parseURL checks a URL. It may contain a password, so no error repeats it.
func parseURL(v string) (string, error) {
	const want = "want https://host/path, or http:// to a program on this machine"
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return "", config.Invalid("is not a URL", want)
	case u.Scheme != "https" && u.Scheme != "http":
		return "", config.Invalid("is neither https nor http", want)
	case u.Hostname() == "":
		return "", config.Invalid("has no host", want)
	}
	return config.Text(v)
}

// parseKey returns the key of a secret. As Standard Webhooks defines, whsec_ is
// followed by the key in base64; any other text is the key itself.
func parseKey(v string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(v, "whsec_")
	if !ok {
		text, err := config.AnyText(v)
		return []byte(text), err
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, config.Invalid("is not base64 after whsec_", "want it as it was issued, or any text that does not begin with whsec_")
	}
	return key, nil
}

// Descriptors counts a connection for each writer and one more, in the old and
// in the new store.
func (*Driver) Descriptors() int { return 2 * (Writers + 1) }

// Open returns the store.
func (d *Driver) Open(s savemail.Setup) (savemail.Opened, error) {
	store := New(Options{URL: d.url, Key: d.key, Version: s.Version})
	return savemail.Opened{Store: store, Batching: savemail.Batching{Writers: Writers, MaxRows: 1}}, nil
}

// OpenReader returns ErrNoReader.
func (*Driver) OpenReader(savemail.Setup) (savemail.Reader, error) { return nil, savemail.ErrNoReader }
