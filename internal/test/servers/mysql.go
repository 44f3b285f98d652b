package servers

import (
	"database/sql"
	"errors"
	"os/exec"
	"strings"

	"goguerrillad/internal/test"
)

// NeedMariaDB skips or fails the test, as test.Need does, without the programs of MariaDB.
func NeedMariaDB(t test.T) {
	t.Helper()
	if MySQL {
		test.Need(t, "mysqld")
		return
	}
	test.Need(t, "mariadbd", "mariadb-install-db")
}

// program returns the path of the server.
func (m *MariaDBServer) program() string {
	name := "mariadbd"
	if MySQL {
		name = "mysqld"
	}
	if path, err := test.LookPath(name); err == nil {
		return path
	}
	return name // starting it reports the error
}

// initialize makes the data directory of MySQL.
func (m *MariaDBServer) initialize(t test.T) {
	t.Helper()
	cmd := exec.Command(m.program(), "--no-defaults", m.account(), "--datadir="+m.dir, "--initialize-insecure")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// kindOptions returns the options for the kind of the server. A test names an option as
// MariaDB does.
func (m *MariaDBServer) kindOptions() []string {
	if !MySQL {
		return m.options
	}
	options := []string{"--mysqlx=OFF", "--secure-file-priv=NULL"}
	for _, option := range m.options {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "--innodb-log-file-size":
			option = "--innodb-redo-log-capacity=" + value
		case "--query-cache-type":
			continue // MySQL has no query cache
		}
		options = append(options, option)
	}
	return options
}

// Status reads a status variable of the server as root. It is "" if the server has no such
// variable.
func (m *MariaDBServer) Status(t test.T, name string) string {
	t.Helper()
	statement, value := "SHOW GLOBAL STATUS LIKE '"+name+"'", ""
	if err := m.root.QueryRow(statement).Scan(&name, &value); err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatalf("%s: %v", statement, err)
	}
	return value
}
