package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"

	"github.com/go-sql-driver/mysql"
)

// ConnectSafely connects to an address and sends no statement.
func ConnectSafely(ctx context.Context, addr string) (driver.Conn, error) {
	config, err := driverConfig(Options{User: "u", DB: "d", Log: slog.New(slog.DiscardHandler)}, addr)
	if err != nil {
		return nil, err
	}
	config.MaxAllowedPacket = 1 << 20 // with 0 the driver queries the server
	k, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return connectSafely(ctx, k)
}

// SettingNames returns the names of the settings, with true for a setting that
// also applies to connections for GM_RECIPIENT_QUERY.
func SettingNames() map[string]bool {
	names := map[string]bool{}
	for _, s := range settings {
		names[s.name] = s.scope == allConns
	}
	return names
}

// SettingStatement returns the statement that applies a setting.
func SettingStatement(name string) string {
	for _, s := range settings {
		if s.name == name {
			return s.statement()
		}
	}
	return ""
}

// ApplySetting applies a setting to a connection.
func ApplySetting(ctx context.Context, dc driver.Conn, name string, log *slog.Logger) error {
	for _, s := range settings {
		if s.name == name {
			return connector{onceLog: newOnceLogger(log)}.apply(ctx, dc.(*safeConn), s, "")
		}
	}
	return errors.New("no such setting")
}
