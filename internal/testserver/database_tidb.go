//go:build tidb

package testserver

// database is what a Suite has for MySQL: make test-tidb runs on TiDB what
// else runs on MariaDB.
func database(t T) *MariaDBServer { return TiDB(t) }

// LargestRow is how many bytes it takes in a row.
const LargestRow = 6 << 20
