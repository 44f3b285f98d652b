// Package faults contains only tests. They send messages while the database, the
// disk, the network, Redis or the daemon fails, and count the outcomes. `make test`
// runs the short form; `make test-faults` sets FAULTS=long and takes more than 1 h.
//
// TestPowerLoss tests cut the power of the file system of a store at random moments,
// and TestPowerFaults tests cut it after operations have failed. TestFailedSync tests
// are deterministic: one sync fails, then the power is cut. After each power loss the
// test audits the store before the daemon starts, and again after the daemon's recovery.
package faults
