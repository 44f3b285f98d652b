// Package e2e contains only tests. They run the built daemon with real senders,
// proxies and stores.
package e2e
