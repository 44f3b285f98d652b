// Package attacks contains only tests. They run hostile clients against a daemon and check
// its memory, its descriptors and its timeouts. The daemon must serve a well-behaved client
// during the attack.
package attacks
