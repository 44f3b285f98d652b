// Package attacks contains only tests. They run hostile clients against a daemon, check its
// memory, descriptors and times, and that a well-behaved client is served during the attack.
package attacks
