// Package smtp has the words of the protocol: replies and enhanced codes,
// commands, paths and their parameters, and the reader that finds the end of a
// text. It knows no session and no socket, and keeps nothing between calls but
// what a [DotReader] holds.
//
// The grammar is that of RFC 5321, with RFC 1870 (SIZE), RFC 2034 and RFC 3463
// (enhanced codes), RFC 3030 (BDAT, BINARYMIME), RFC 3461 (DSN, read and
// ignored), RFC 4954 (AUTH=, read and ignored), RFC 6152 (8BITMIME), RFC 6531
// (SMTPUTF8) and RFC 8689 (REQUIRETLS). Where real senders leave that grammar
// and nothing is risked by following them, the function that does so says it.
package smtp
