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

// CreateTable creates the table that we ship unless it exists, and grants the rights on
// it to the daemon's user.
func (m *MariaDBServer) CreateTable(t test.T, name string) {
	t.Helper()
	m.create(t, schema(t, "internal/savemail/mysql/new_mail.sql", m.DB+"."+name), name)
}

// CreateTable2012 is CreateTable with the table of 2012, whose columns are narrow.
func (m *MariaDBServer) CreateTable2012(t test.T, name string) {
	t.Helper()
	m.create(t, Schema2012(t, m.DB+"."+name), name)
}

func (m *MariaDBServer) create(t test.T, statement, name string) {
	t.Helper()
	m.Exec(t, statement)
	for _, grant := range Grants(t) {
		m.Exec(t, strings.NewReplacer("mail.new_mail", m.DB+"."+name, "'goguerrilla'@'localhost'", "`"+m.User+"`@`%`").Replace(grant))
	}
}

// GrantDelete grants the right for GM_KEEP_HOURS.
func (m *MariaDBServer) GrantDelete(t test.T, name string) {
	t.Helper()
	m.Exec(t, "GRANT DELETE ON "+m.DB+"."+name+" TO `"+m.User+"`@`%`")
}

// Grants returns the GRANT statements of the manual for MySQL, for the table mail.new_mail
// and the user 'goguerrilla'@'localhost'.
func Grants(t test.T) []string {
	t.Helper()
	grants := regexp.MustCompile(`(?m)^GRANT .* ON mail\.new_mail .*;$`).FindAllString(test.ReadSource(t, "man/goguerrilla.conf.5"), -1)
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

// Schema2012 returns the statement that creates the table of 2012 with another name.
func Schema2012(t test.T, name string) string {
	t.Helper()
	return schema(t, "internal/test/storetest/new_mail_2012.sql", name)
}

func schema(t test.T, file, name string) string {
	t.Helper()
	statement := strings.Replace(test.ReadSource(t, file), "`new_mail`", name, 1)
	if !strings.Contains(statement, name) {
		t.Fatalf("%s does not contain the name of its table", file)
	}
	return statement
}
