// Package attacks has no code: its tests do to a daemon what hostile clients
// do, hold it to bounds of memory, descriptors and time, and see that a
// well-behaved client beside them is served meanwhile.
package attacks
