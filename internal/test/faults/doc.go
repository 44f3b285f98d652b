// Package faults has no code: its tests break everything that a daemon stands
// on while mail streams in, and count what became of the mail. In their short
// form they are part of all tests; FAULTS=long, as make test-faults has it,
// takes an hour and more.
//
// TestPowerLoss tests cut the power of the file system below a store at random
// moments, and TestPowerFaults tests do so after operations have failed.
// TestFailedSync tests have one sync fail and then cut the power, without
// chance. What is compared is a copy of what the power loss has left, before the
// daemon can repair it, and what the daemon has recovered.
package faults
