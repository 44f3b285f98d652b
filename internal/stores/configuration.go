package stores

import (
	"slices"
	"strings"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/migrate"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/redis"
)

// Configuration is a configuration with its store. It is immutable.
type Configuration struct {
	*config.Config
	SaveMail   string // name of the store
	Recipients Recipients
	Keep       time.Duration // after it, the store deletes a message; 0 = never
	MinFree    int64         // bytes that a store with local files must have free to receive messages

	driver savemail.Driver
	asked  savemail.Driver // whose database runs the query
	redis  redis.Settings
	query  string // value of GM_RECIPIENT_QUERY
}

// Recipients is the query that decides which recipients exist.
type Recipients struct {
	Query *recipient.Query // nil if every address of Config.Hosts receives
	Cache time.Duration    // how long an answer is cached, in whole seconds; 0 = no cache
}

// Keys returns all keys of the configuration in the order of the sample: first the 20
// keys of 2012, then the others.
func Keys() []config.Key {
	c := &Configuration{}
	keys := append(config.Keys(), c.keys(drivers())...)
	old := func(k config.Key) bool { return k.Since2012 }
	rest := slices.DeleteFunc(slices.Clone(keys), old)
	return append(slices.DeleteFunc(keys, func(k config.Key) bool { return !old(k) }), rest...)
}

// Load reads, parses and checks a file on this machine. Its errors are
// *config.Error.
func Load(path string) (*Configuration, error) {
	c, x := extend()
	var err error
	if c.Config, err = config.Load(path, x); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse parses and checks the text of a configuration, as config.Parse does.
func Parse(name string, data []byte, env config.Environment) (*Configuration, error) {
	c, x := extend()
	var err error
	if c.Config, err = config.Parse(name, data, env, x); err != nil {
		return nil, err
	}
	return c, nil
}

// extend returns an empty configuration and the extension that fills it in.
func extend() (*Configuration, config.Extension) {
	c, all := &Configuration{}, drivers()
	return c, config.Extension{
		Keys:  c.keys(all),
		Check: func(d *config.Draft) error { return c.check(d, all) },
		Foreign: func(name string, text []byte) *config.Error {
			return migrate.Recognise(name, text, Keys())
		},
	}
}

// keys returns the keys of the stores, of Redis and of the recipient query. Their
// Set functions store the values in c and in the drivers.
func (c *Configuration) keys(all []savemail.Driver) []config.Key {
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	keys := []config.Key{
		{Name: "GM_SAVE_MAIL", Derived: "postgres if POSTGRES_DSN is set, mysql if MYSQL_HOST is set, else sqlite",
			Doc: "store: " + strings.Join(names, ", "),
			Set: func(_ *config.Draft, v string) error { return config.Into(&c.SaveMail, v, config.OneOf(names...)) }},
		{Name: "GM_RECIPIENT_QUERY", Derived: "none: every address of GM_ALLOWED_HOSTS receives",
			Doc: "SQL with :address and :domain that is run for each recipient on the store's database, else on that of POSTGRES_DSN, MYSQL_HOST or SQLITE_FILE; no row means that the recipient is refused",
			Set: func(_ *config.Draft, v string) error { return config.Into(&c.query, v, config.AnyText) }},
		{Name: "GM_RECIPIENT_CACHE_SECONDS", Default: "60",
			Doc: "seconds that an answer of the query is cached, 0 to query every time",
			Set: func(_ *config.Draft, v string) error {
				return config.Into(&c.Recipients.Cache, v, config.Seconds(0, 24*60*60))
			}},
		{Name: "GM_KEEP_HOURS", Derived: "none: messages are kept for ever",
			Doc: "hours after which the daemon deletes a message",
			Set: func(_ *config.Draft, v string) error { return config.Into(&c.Keep, v, keepHours) }},
		{Name: "GM_MIN_FREE", Default: "67108864",
			Doc: "bytes that the disk of SQLite or the Maildir must have free; with less, messages get 452",
			Set: func(_ *config.Draft, v string) error {
				return config.Into(&c.MinFree, v, config.Number("bytes", 0, maxMinFree))
			}},
	}
	for _, d := range all {
		keys = append(keys, d.Keys...)
	}
	return append(keys, c.redis.Keys()...)
}

const (
	maxKeep    = 1_000_000 // hours
	maxMinFree = 1 << 50   // bytes
)

func keepHours(v string) (time.Duration, error) {
	hours, err := config.Number("hours", int64(savemail.MinKeep/time.Hour), maxKeep)(v)
	return time.Duration(hours) * time.Hour, err
}

// check selects the store, and checks the keys that depend on it.
func (c *Configuration) check(d *config.Draft, all []savemail.Driver) error {
	if c.SaveMail == "" {
		c.SaveMail = fallback
		if i := slices.IndexFunc(all, func(s savemail.Driver) bool { return s.Default != nil && s.Default() }); i >= 0 {
			c.SaveMail = all[i].Name
		}
	}
	c.driver = all[slices.IndexFunc(all, func(s savemail.Driver) bool { return s.Name == c.SaveMail })]
	if err := c.chooseQuery(d, all); err != nil {
		return err
	}
	for _, s := range all {
		used := s.Name == c.SaveMail || s.Name == c.asked.Name
		if s.Check != nil {
			if err := s.Check(d, used); err != nil {
				return err
			}
		}
		if !used && (s.Name != "mysql" || s.Default()) {
			c.warnUnused(d, s.Keys, "GM_SAVE_MAIL is "+c.SaveMail)
		}
	}
	if err := c.redis.Check(d, c.driver); err != nil {
		return err
	}
	if d.Compress && !c.driver.Table && !c.driver.Discard {
		d.Warn("GM_MAIL_COMPRESS=Y has no effect: GM_SAVE_MAIL=" + c.SaveMail + " does not compress")
	}
	if !c.driver.Table && !c.driver.Discard && d.Changes("GM_MAIL_TABLE") {
		d.Warn("GM_MAIL_TABLE has no effect: GM_SAVE_MAIL=" + c.SaveMail + " has no table")
	}
	if c.Keep > 0 && !c.driver.Expires {
		return d.Invalid("GM_KEEP_HOURS", "needs a store that keeps messages, and GM_SAVE_MAIL is "+c.SaveMail, "want no value")
	}
	if c.driver.Files == nil && d.Changes("GM_MIN_FREE") {
		d.Warn("GM_MIN_FREE has no effect: GM_SAVE_MAIL=" + c.SaveMail + " has no files on this machine")
	}
	if c.query == "" && d.Changes("GM_RECIPIENT_CACHE_SECONDS") {
		d.Warn("GM_RECIPIENT_CACHE_SECONDS has no effect: GM_RECIPIENT_QUERY is not set")
	}
	return c.parseQuery(d)
}

// warnUnused warns of keys that the file sets and that have no effect.
func (c *Configuration) warnUnused(d *config.Draft, keys []config.Key, reason string) {
	var names []string
	for _, k := range keys {
		if d.Changes(k.Name) {
			names = append(names, k.Name)
		}
	}
	switch len(names) {
	case 0:
	case 1:
		d.Warn(names[0] + " has no effect: " + reason)
	default:
		d.Warn(strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " have no effect: " + reason)
	}
}

// chooseQuery sets the driver whose database runs GM_RECIPIENT_QUERY: that of the store, else
// the first one that the keys name.
func (c *Configuration) chooseQuery(d *config.Draft, all []savemail.Driver) error {
	if c.query == "" {
		return nil
	}
	if c.asked = c.driver; c.asked.Query != nil {
		return nil
	}
	for _, s := range all {
		if s.Query != nil && s.Query.Named() {
			c.asked = s
			return nil
		}
	}
	return d.Invalid("GM_RECIPIENT_QUERY", "has no database: GM_SAVE_MAIL="+c.SaveMail+" has none", "want one in POSTGRES_DSN, MYSQL_HOST or SQLITE_FILE")
}

// parseQuery parses GM_RECIPIENT_QUERY in the dialect of the database that runs it.
func (c *Configuration) parseQuery(d *config.Draft) error {
	if c.query == "" {
		return nil
	}
	const key = "GM_RECIPIENT_QUERY"
	q, err := recipient.Parse(c.query, c.asked.Query.Dialect)
	if err != nil {
		return d.Invalid(key, err.Error(), "want one SELECT with the parameters :address and :domain")
	}
	if !q.HasParameters() {
		d.Warn(key + " has neither :address nor :domain: the answer is the same for every recipient")
	}
	c.Recipients.Query = &q
	return nil
}
