package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"

	"github.com/go-sql-driver/mysql"
)

// ConnectFenced connects to an address and sends no command.
func ConnectFenced(ctx context.Context, addr string) (driver.Conn, error) {
	config, err := driverConfig(Options{User: "u", DB: "d", Log: slog.New(slog.DiscardHandler)}, addr)
	if err != nil {
		return nil, err
	}
	config.MaxAllowedPacket = 1 << 20 // else the driver asks for it
	k, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return connectFenced(ctx, k)
}

// SettingNames returns the names of settings, and which are made for
// GM_RECIPIENT_QUERY.
func SettingNames() map[string]bool {
	names := map[string]bool{}
	for _, s := range settings {
		names[s.name] = s.scope == all
	}
	return names
}

// Assignment returns the statement that makes a setting.
func Assignment(name string) string {
	for _, s := range settings {
		if s.name == name {
			return s.assignment()
		}
	}
	return ""
}

// MakeSetting makes a setting of a connection.
func MakeSetting(ctx context.Context, dc driver.Conn, name string, log *slog.Logger) error {
	for _, s := range settings {
		if s.name == name {
			return connector{once: newOnce(log)}.set(ctx, dc, s, "")
		}
	}
	return errors.New("no such setting")
}
