// Package smtp implements the syntax of SMTP: commands, paths, parameters, the end
// of a message's text, XCLIENT, the PROXY header, and all replies of the server. It
// is independent of sessions and sockets. Only a [DotReader] keeps state between
// calls.
//
// The grammar is that of RFC 5321, with RFC 1870 (SIZE), RFC 2034 and RFC 3463
// (enhanced codes), RFC 3030 (BDAT, BINARYMIME), RFC 3461 (DSN, parsed and
// ignored), RFC 4954 (AUTH=, parsed and ignored), RFC 6152 (8BITMIME), RFC 6531
// (SMTPUTF8) and RFC 8689 (REQUIRETLS). The comments of the parsers list what they
// accept beyond the grammar because real senders send it.
package smtp
