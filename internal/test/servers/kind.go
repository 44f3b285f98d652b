//go:build !mysql

package servers

// MySQL reports whether MariaDB starts MySQL, which make test-servers selects.
const MySQL = false
