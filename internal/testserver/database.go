//go:build !tidb

package testserver

// database is what a Suite has for MySQL.
func database(t T) *MariaDBServer { return MariaDB(t, "--max-allowed-packet=64M") }

// LargestRow is how many bytes it takes in a row.
const LargestRow = 64 << 20
