// Package faults has no code: its tests break everything that a daemon stands
// on while mail streams in, and count what became of the mail. In their short
// form they are part of all tests; FAULTS=long, as make test-faults has it,
// takes an hour and more.
package faults
