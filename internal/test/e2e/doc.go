// Package e2e has no code: its tests run the built daemon as a whole, with
// real senders in front of it and real databases behind it.
package e2e
