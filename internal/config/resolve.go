package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// resolve fills in the defaults, then checks values that depend on other keys or
// on the machine.
func (d *Draft) resolve() error {
	for _, k := range d.keys {
		if !d.Given(k.Name) && k.Default != "" {
			if err := k.Set(d, k.Default); err != nil {
				return d.invalid(k, err)
			}
		}
	}
	for _, step := range []struct {
		key string
		do  func(*Draft) error
	}{
		{"GSMTP_HOST_NAME", (*Draft).names},
		{"GSMTP_MEMORY", (*Draft).memory},
		{"SGID", (*Draft).group},
		{"GUID", (*Draft).user},
		{"GSMTP_PRV_KEY", (*Draft).certificates},
		{"GSTMP_LISTEN_INTERFACE", (*Draft).implicitTLS},
		{"GSMTP_TRUSTED_PROXIES", (*Draft).trust},
	} {
		err := step.do(d)
		var m *mistake
		if err == nil || errors.As(err, &m) {
			if err != nil {
				return err
			}
			continue
		}
		return d.invalidKey(step.key, err)
	}
	return nil
}

// names makes each of the two host names the default of the other.
func (d *Draft) names() error {
	if d.HostName == "" {
		d.HostName = d.PrimaryHost
	}
	if d.HostName == "" {
		name, err := hostName(d.env.FQDN())
		if err != nil {
			name = "localhost"
			d.Warn("the machine's own name is not a domain: using localhost until GSMTP_HOST_NAME is set")
		}
		d.HostName = name
	}
	if d.PrimaryHost == "" {
		d.PrimaryHost = d.HostName
	}
	return nil
}

// The default of GSMTP_MEMORY is a quarter of the memory within these bounds.
const (
	memoryShare   = 4
	mostMemory    = 256 << 20
	memoryInSizes = 4 // minimum, in messages of GSMTP_MAX_SIZE
)

func (d *Draft) memory() error {
	least := memoryInSizes * d.MaxSize
	if d.Memory == 0 {
		d.Memory = max(min(d.env.Memory()/memoryShare, mostMemory), least)
	}
	// The drivers of the stores copy messages: measured, MySQL's uses 4 times GSMTP_MAX_SIZE.
	used := d.Memory + memoryInSizes*d.MaxSize
	if total := d.env.Memory(); total > 0 && (d.Memory > total/2 || used > total/10*9) {
		remedy := "GSMTP_MEMORY"
		if d.Memory <= least {
			remedy = fmt.Sprintf("GSMTP_MAX_SIZE to %d", total/(memoryShare*memoryInSizes))
		}
		d.Warn(fmt.Sprintf("GSMTP_MEMORY is %d bytes, too much for a memory of %d bytes: lower %s", d.Memory, total, remedy))
	}
	if d.Memory < least {
		return Invalid("is too small", fmt.Sprintf("want at least %d bytes, %d times GSMTP_MAX_SIZE", least, memoryInSizes))
	}
	return nil
}

// maxID is the largest user or group id. setresuid(2) leaves an id unchanged if
// its argument is the next number, -1.
const maxID = math.MaxUint32 - 1

func (d *Draft) group() error {
	name := d.Group.Name
	if name == "" {
		return nil
	}
	gid, numeric, err := numericID(name)
	if err == nil && !numeric {
		if gid, err = d.env.Group(name); err != nil {
			return Invalid("is not a group of this machine", "want the name or number of a group")
		}
	}
	d.Group.Num = gid
	return notRoot(gid, err, "group")
}

func (d *Draft) user() error {
	name := d.User.Name
	if name == "" {
		if d.Group.Name != "" {
			return d.Invalid("SGID", "is set without GUID", "want both, or neither")
		}
		return nil
	}
	uid, numeric, err := numericID(name)
	var gid int
	var unknown error
	if err == nil {
		var known int
		if known, gid, unknown = d.env.User(name); !numeric {
			uid = known
		}
	}
	if unknown != nil && !numeric {
		return Invalid("is not a user of this machine", "want the name or number of a user")
	}
	d.User.Num = uid
	if err := notRoot(uid, err, "user"); err != nil || d.Group.Name != "" {
		return err
	}
	// The user's primary group, as with login(1).
	if unknown != nil {
		return Invalid("has no primary group on this machine", "want SGID as well")
	}
	d.Group = ID{Name: strconv.Itoa(gid), Num: gid}
	if gid == 0 {
		return Invalid("has the primary group root", "want an unprivileged group in SGID")
	}
	return nil
}

// numericID parses the number of a user or group. numeric is false if s is a name.
func numericID(s string) (id int, numeric bool, err error) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxID {
		return 0, true, Invalid("is too large", fmt.Sprintf("want a number from 1 to %d", uint32(maxID)))
	}
	return int(n), true, nil
}

// notRoot returns err, or an error if id is root's.
func notRoot(id int, err error, what string) error {
	if err == nil && id == 0 {
		return Invalid("is root", "want an unprivileged "+what)
	}
	return err
}

// trust adds this machine to the trusted proxies by default if auth_http is
// enabled, since nginx then normally runs on it. It warns of PROXY headers without
// a trusted proxy and of trust in all clients.
func (d *Draft) trust() error {
	if d.Trusted == nil && d.AuthHTTP.Enabled {
		d.Trusted = &Networks{nets: loopback()}
	}
	if d.Trusted == nil && d.ProxyProtocol {
		d.Warn("GSMTP_PROXY_PROTOCOL is Y without GSMTP_TRUSTED_PROXIES: no client may send a PROXY header")
	}
	if d.Trusted.everyAddress() {
		d.Warn("GSMTP_TRUSTED_PROXIES trusts every address: any client can forge its address")
	}
	return nil
}

// implicitTLS requires a certificate for addresses whose clients begin with TLS.
func (d *Draft) implicitTLS() error {
	isTLS := func(address string) bool { return strings.HasPrefix(address, ImplicitTLS) }
	if len(d.Certificates) == 0 && slices.ContainsFunc(d.Listen, isTLS) {
		return Invalid("has smtps:// without a certificate", "want GSMTP_PRV_KEY and GSMTP_PUB_KEY as well")
	}
	return nil
}
