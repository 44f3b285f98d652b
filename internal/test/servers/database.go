//go:build !tidb

package servers

import "goguerrillad/internal/test"

// Database starts the server that the tests of MySQL share.
func Database(t test.T) *MariaDBServer { return MariaDB(t, "--max-allowed-packet=64M") }

// LargestRow is the largest row that the server stores, in bytes.
const LargestRow = 64 << 20
