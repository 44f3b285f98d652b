//go:build tidb

package servers

import "goguerrillad/internal/test"

// Database starts the server that the tests of MySQL share: TiDB, for make
// test-tidb.
func Database(t test.T) *MariaDBServer { return TiDB(t) }

// LargestRow is the largest row that the server stores, in bytes.
const LargestRow = 6 << 20
