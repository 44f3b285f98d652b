package servers

import (
	"regexp"
	"strings"

	"goguerrillad/internal/test"
)

// addUser creates the database and the user, without rights.
func (m *MariaDBServer) addUser(t test.T) {
	t.Helper()
	m.Exec(t,
		"CREATE DATABASE `"+m.DB+"`",
		"CREATE USER `"+m.User+"`@`%` IDENTIFIED BY '"+m.Pass+"'")
}

// CreateTable creates a table for messages unless it exists, and grants the rights on
// it to the daemon's user.
func (m *MariaDBServer) CreateTable(t test.T, name string) {
	t.Helper()
	m.Exec(t, Schema(t, m.DB+"."+name))
	for _, grant := range Grants(t) {
		m.Exec(t, strings.NewReplacer("mail.new_mail", m.DB+"."+name, "'goguerrilla'@'localhost'", "`"+m.User+"`@`%`").Replace(grant))
	}
}

// Grants returns the GRANT statements of the manual, for the table mail.new_mail
// and the user 'goguerrilla'@'localhost'.
func Grants(t test.T) []string {
	t.Helper()
	grants := regexp.MustCompile(`(?m)^GRANT .*;$`).FindAllString(test.ReadSource(t, "man/goguerrilla.conf.5"), -1)
	if len(grants) == 0 {
		t.Fatalf("the manual has no GRANT")
	}
	return grants
}

// Keys returns the daemon's configuration keys for the server.
func (m *MariaDBServer) Keys() map[string]string {
	return map[string]string{
		"GM_SAVE_MAIL": "mysql", "MYSQL_HOST": m.Addr, "MYSQL_USER": m.User, "MYSQL_PASS": m.Pass, "MYSQL_DB": m.DB,
	}
}

// Schema returns the statement of new_mail.sql with another name of the table.
func Schema(t test.T, name string) string {
	t.Helper()
	statement := strings.Replace(test.ReadSource(t, "internal/savemail/mysql/new_mail.sql"), "`new_mail`", name, 1)
	if !strings.Contains(statement, name) {
		t.Fatalf("new_mail.sql does not contain the name of its table")
	}
	return statement
}
