package mysql

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/savemail/newmail"
)

// The values of Options.TLS. A connection to a unix socket never uses TLS.
const (
	tlsOff        = "N"
	tlsPreferred  = "preferred"   // if the server has TLS, certificate not verified
	tlsVerify     = "Y"           // always, certificate verified with the system's roots
	tlsSkipVerify = "skip-verify" // always, certificate not verified
)

const (
	dialTimeout     = 3 * time.Second
	maxReplyTimeout = 10 * time.Second
)

// A host is one server in Options.Hosts.
type host struct {
	name        string
	db          *sql.DB                         // opens connections; only Recipients uses it as a pool
	columns     atomic.Pointer[newmail.Columns] // of this server's table, nil until the first connection
	columnsRead atomic.Pointer[time.Time]       // when columns was read last, nil until then
	charsets    sync.Map                        // of this server's columns, name to *newmail.Charset
	health      health
}

func (h *host) String() string { return h.name }

// replyTimeout bounds the wait for one reply of a server.
func (o Options) replyTimeout() time.Duration { return min(maxReplyTimeout, o.Timeout/3) }

func newHosts(o Options, scope scope, onceLog *onceLogger) ([]*host, error) {
	if len(o.Hosts) == 0 {
		return nil, errors.New("no MySQL host is given")
	}
	var hosts []*host
	for _, name := range o.Hosts {
		config, err := driverConfig(o, name)
		if err != nil {
			return nil, err
		}
		plain, err := mysql.NewConnector(config)
		if err != nil {
			return nil, fmt.Errorf("MySQL host %s: %w", name, err)
		}
		db := sql.OpenDB(connector{plain, name, scope, onceLog})
		// The store pools connections itself, to keep their prepared statements.
		db.SetMaxIdleConns(-1)
		hosts = append(hosts, &host{name: name, db: db, health: health{checkouts: map[*checkout]bool{}}})
	}
	return hosts, nil
}

func driverConfig(o Options, name string) (*mysql.Config, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = o.User, o.Pass, o.DB
	c.Net, c.Addr = "tcp", name
	if strings.HasPrefix(name, "/") {
		c.Net = "unix"
	}
	reply := o.replyTimeout()
	c.Timeout = min(dialTimeout, reply)
	c.ReadTimeout, c.WriteTimeout = reply, reply // ReadTimeout bounds the handshake, too
	dialer := &net.Dialer{Timeout: c.Timeout}
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, dialer, network, address)
	}
	c.CheckConnLiveness = true
	c.RejectReadOnly = false  // true makes database/sql send an INSERT again
	c.MultiStatements = false // each packet has one outcome
	c.MaxAllowedPacket = 0    // the server's value
	c.Logger = driverLog{o.Log, name}
	if c.Net == "unix" {
		return c, nil
	}
	switch o.TLS {
	case "", tlsOff:
	case tlsPreferred, tlsSkipVerify:
		c.TLS = &tls.Config{InsecureSkipVerify: true}
		c.AllowFallbackToPlaintext = o.TLS == tlsPreferred
		// Without a copy for each connection, the driver would never use TLS again
		// after a connection to a server without TLS.
		copied := func(context.Context, *mysql.Config) error { return nil }
		if err := c.Apply(mysql.BeforeConnect(copied)); err != nil {
			return nil, err
		}
	case tlsVerify:
		c.TLS = &tls.Config{}
	default:
		return nil, fmt.Errorf("MySQL TLS mode: %q is not N, preferred, Y or skip-verify", o.TLS)
	}
	// For a host without a port, the driver sets ServerName.
	if host, _, err := net.SplitHostPort(name); err == nil && c.TLS != nil {
		c.TLS.ServerName = host
	}
	return c, nil
}

// driverLog logs the driver's messages.
type driverLog struct {
	log  *slog.Logger
	host string
}

func (l driverLog) Print(v ...any) {
	l.log.Debug("message of the MySQL driver", "host", l.host, "text", strings.TrimSpace(fmt.Sprint(v...)))
}
