package webhook

import (
	"context"
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// Driver describes the store.
func Driver() savemail.Driver {
	var o Options
	var secret string
	return savemail.Driver{
		Name: "webhook",
		Keys: []config.Key{
			{Name: "WEBHOOK_URL", Derived: "the systemd credential webhook_url, else none", Secret: true,
				Doc: "URL that the store webhook posts each message to, https or http",
				Set: func(_ *config.Draft, v string) error { return config.Into(&o.URL, v, parseURL) }},
			{Name: "WEBHOOK_SECRET", Derived: "the systemd credential webhook_secret, else none", Secret: true,
				Doc: "key that signs the requests: whsec_ and base64, or any text",
				Set: func(_ *config.Draft, v string) error {
					secret = v
					return config.Into(&o.Key, v, parseKey)
				}},
		},
		Check: func(d *config.Draft, selected bool) error {
			if !selected {
				return nil
			}
			if err := credentials(d, &o, secret); err != nil {
				return err
			}
			return check(d, o)
		},
		Descriptors: func() int { return 2 * (Writers + 1) }, // a connection for each writer and one for Check
		Open: func(s savemail.Setup) (savemail.Opened, error) {
			store := New(Options{URL: o.URL, Key: o.Key, Version: s.Version})
			return savemail.Opened{Store: store, Batching: savemail.Batching{Writers: Writers, MaxRows: 1}}, nil
		},
		Inspect: func(ctx context.Context, s savemail.Setup) ([]string, error) {
			return nil, inspect(ctx, New(Options{URL: o.URL, Key: o.Key, Version: s.Version}))
		},
	}
}

// credentials reads the systemd credentials of the keys that the file does not set.
func credentials(d *config.Draft, o *Options, secret string) error {
	given := o.URL
	if err := d.Credential("WEBHOOK_URL", "webhook_url", &given); err != nil {
		return err
	}
	if given != o.URL {
		if err := config.Into(&o.URL, given, parseURL); err != nil {
			return d.Refuse("WEBHOOK_URL", err)
		}
	}
	given = secret
	if err := d.Credential("WEBHOOK_SECRET", "webhook_secret", &given); err != nil {
		return err
	}
	if given != secret {
		if err := config.Into(&o.Key, given, parseKey); err != nil {
			return d.Refuse("WEBHOOK_SECRET", err)
		}
	}
	return nil
}

// check requires a URL, and warns if requests are in clear or have no signature.
func check(d *config.Draft, o Options) error {
	u, err := url.Parse(o.URL)
	if err != nil || o.URL == "" {
		return d.Invalid("WEBHOOK_URL", "is missing", "want https://host/path for GM_SAVE_MAIL=webhook")
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); u.Scheme == "http" && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		d.Warn("WEBHOOK_URL is http: messages cross the network in clear, and the receiver is not authenticated")
	}
	if o.Key == nil {
		d.Warn("WEBHOOK_SECRET is not set: the receiver cannot tell who sent a request")
	}
	return nil
}

// parseURL checks a URL. Its errors do not contain the URL, which may contain a
// password.
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

// parseKey returns the key of WEBHOOK_SECRET. After whsec_, the key is in base64, as
// Standard Webhooks defines; any other text is the key itself.
func parseKey(v string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(v, "whsec_")
	if !ok {
		text, err := config.AnyText(v)
		return []byte(text), err
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, config.Invalid("is not base64 after whsec_", "want the key as it was issued, or text without whsec_")
	}
	return key, nil
}
