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

	"goguerrillad/internal/savemail/newmail"

	"github.com/go-sql-driver/mysql"
)

// The values of Options.TLS. A unix socket is used without TLS in any case: no
// network is in between.
const (
	TLSOff        = "N"
	TLSPreferred  = "preferred"   // if the server has it, unverified
	TLSVerify     = "Y"           // always, certificate verified by the system's roots
	TLSSkipVerify = "skip-verify" // always, unverified
)

// Bounds of what a connection waits for.
const (
	dialTimeout = 3 * time.Second
	maxAnswer   = 10 * time.Second // for one answer of the server, or a third of Options.Timeout
)

// A host is one server that may be asked.
type host struct {
	name    string
	db      *sql.DB                         // hands out connections and keeps none
	columns atomic.Pointer[newmail.Columns] // of the table there, nil until the first connection
	read    atomic.Pointer[time.Time]       // when the columns were read last, nil until then
	// charsets has the character sets of columns there, by name: *newmail.Charset.
	charsets sync.Map
	health   health
}

func (h *host) String() string { return h.name }

// answerTime bounds the wait for one answer of a server.
func (o Options) answerTime() time.Duration { return min(maxAnswer, o.Timeout/3) }

func newHosts(o Options, scope scope, once *once) ([]*host, error) {
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
		db := sql.OpenDB(connector{plain, name, scope, once})
		// What a writer gives back is closed: a connection that another
		// writer finds would have none of its prepared statements.
		db.SetMaxIdleConns(-1)
		hosts = append(hosts, &host{name: name, db: db, health: health{turns: map[*turn]bool{}}})
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
	answer := o.answerTime()
	c.Timeout = min(dialTimeout, answer)
	c.ReadTimeout, c.WriteTimeout = answer, answer // the first bounds the handshake as well
	dialer := &net.Dialer{Timeout: c.Timeout}
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, dialer, network, address)
	}
	c.CheckConnLiveness = true
	c.RejectReadOnly = false  // it would make the driver send an INSERT again
	c.MultiStatements = false // one packet, one outcome
	c.MaxAllowedPacket = 0    // as the server says
	c.Logger = driverLog{o.Log, name}
	if c.Net == "unix" {
		return c, nil
	}
	switch o.TLS {
	case "", TLSOff:
	case TLSPreferred:
		c.TLS = &tls.Config{InsecureSkipVerify: true}
		c.AllowFallbackToPlaintext = true
	case TLSVerify:
		c.TLS = &tls.Config{} // the driver sets the name
	case TLSSkipVerify:
		c.TLS = &tls.Config{InsecureSkipVerify: true}
	default:
		return nil, fmt.Errorf("MySQL over TLS: %q is not N, preferred, Y or skip-verify", o.TLS)
	}
	if host, _, err := net.SplitHostPort(name); err == nil && c.TLS != nil {
		c.TLS.ServerName = host
	}
	return c, nil
}

// driverLog takes what the driver says beside the errors that it returns.
type driverLog struct {
	log  *slog.Logger
	host string
}

func (l driverLog) Print(v ...any) {
	l.log.Debug("MySQL driver: "+strings.TrimSpace(fmt.Sprint(v...)), "host", l.host)
}
