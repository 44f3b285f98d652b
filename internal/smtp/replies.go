package smtp

// The replies that never change. No package but this one builds a reply.
var (
	ReplyOK           = Reply{250, OK, "OK"}
	ReplySenderOK     = Reply{250, SenderOK, "OK"}
	ReplyRecipientOK  = Reply{250, RecipientOK, "OK"}
	ReplyChunkOK      = Reply{250, OK, "OK, next chunk"}
	ReplySendData     = Reply{354, "", "End data with <CR><LF>.<CR><LF>"}
	ReplyStartTLS     = Reply{220, OK, "Ready to start TLS"}
	ReplyBye          = Reply{221, OK, "Bye"}
	ReplyCannotVerify = Reply{252, ProtocolOK, "Cannot verify the address, send a message to try it"}
	ReplyHelp         = Reply{214, OK, "Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS\n" +
		"This server receives messages and does not relay (RFC 5321)"}

	// They end the session.
	ReplyTimeout         = Reply{421, BadConnection, "Timeout, closing connection"}
	ReplyShuttingDown    = Reply{421, NotAccepting, "Shutting down, try again later"}
	ReplyTooManyErrors   = Reply{421, PolicyNow, "Too many errors, closing connection"}
	ReplyNotHTTP         = Reply{421, PolicyNow, "This is not a web server, closing connection"}
	ReplyTooManySessions = Reply{421, NotAccepting, "Too many connections, try again later"}
	ReplyTooManyPerIP    = Reply{421, NotAccepting, "Too many connections from your address, try again later"}

	// The client should try again later.
	ReplyNotStored          = Reply{451, SystemTrouble, "Message not stored, try again later"}
	ReplyStoreUnavailable   = Reply{451, SystemTrouble, "Messages cannot be stored now, try again later"}
	ReplyServerFull         = Reply{451, NotAccepting, "Too many connections, try again later"}
	ReplyNoServer           = Reply{451, NotAccepting, "No server available, try again later"}
	ReplyNoRecipientYet     = Reply{451, SystemTrouble, "No recipient accepted yet, try again later"}
	ReplyRecipientUnchecked = Reply{451, SystemTrouble, "Recipient cannot be checked now, try again later"}
	ReplyOutOfMemory        = Reply{452, SystemFull, "Out of memory for messages, try again later"}
	ReplyTooManyRecipients  = Reply{452, TooManyRecipients, "Too many recipients, send to the rest separately"}

	// Syntax.
	ReplyLineTooLong        = Reply{500, BadSyntax, "Line too long"}
	ReplyNoCRLF             = Reply{500, BadSyntax, "Lines must end with CR LF and contain no other LF"}
	ReplyControlCharacter   = Reply{500, BadSyntax, "CR or NUL inside a line"}
	ReplyUnknownCommand     = Reply{500, BadSyntax, "Unknown command"}
	ReplyNoArgument         = Reply{501, BadArguments, "No argument allowed"}
	ReplyArgumentMissing    = Reply{501, BadArguments, "Argument missing"}
	ReplyMalformedParameter = Reply{501, BadArguments, "Malformed parameter"}
	ReplyMalformedAttribute = Reply{501, BadArguments, "Malformed attribute"}
	ReplyUnknownAttribute   = Reply{501, BadArguments, "Unknown attribute"}
	ReplyUnknownParameter   = Reply{555, BadArguments, "Unknown parameter"}

	// Order.
	ReplyHelloFirst       = Reply{503, BadSequence, "Send HELO or EHLO first"}
	ReplyNestedMail       = Reply{503, BadSequence, "Nested MAIL command"}
	ReplyMailFirst        = Reply{503, BadSequence, "Send MAIL first"}
	ReplyRcptFirst        = Reply{503, BadSequence, "Send RCPT first"}
	ReplyMailAndRcpt      = Reply{503, BadSequence, "Send MAIL and RCPT"}
	ReplyRcptAfterChunk   = Reply{503, BadSequence, "RCPT not allowed after BDAT"}
	ReplyDataAfterChunk   = Reply{503, BadSequence, "DATA not allowed after BDAT"}
	ReplyBinaryData       = Reply{503, BadSequence, "BODY=BINARYMIME needs BDAT"}
	ReplyChunkDiscarded   = Reply{503, BadSequence, "Chunk discarded after an earlier error"}
	ReplyXClientInMessage = Reply{503, BadSequence, "XCLIENT inside a transaction"}
	ReplyTLSActive        = Reply{503, BadSequence, "TLS is already active"}

	// Permanent refusals.
	ReplyNotImplemented      = Reply{502, BadSequence, "Command not implemented"}
	ReplyNoTLS               = Reply{502, BadSequence, "TLS is not available"}
	ReplyOnlySMTP            = Reply{502, BadSequence, "Only SMTP is supported"}
	ReplyNeedTLS             = Reply{530, EncryptionNeeded, "REQUIRETLS needs TLS"}
	ReplyNoLogin             = Reply{535, LoginFailed, "Authentication is not supported"}
	ReplyNotTrusted          = Reply{550, NotPermitted, "XCLIENT not permitted"}
	ReplyNoSuchRecipient     = Reply{550, NoSuchMailbox, "No such recipient here"}
	ReplyRelayingDenied      = Reply{550, RelayDenied, "Relaying denied: no such domain here"}
	ReplyRefused             = Reply{550, RelayDenied, "Message refused"}
	ReplyTooBig              = Reply{552, MessageTooBig, "Message too big"}
	ReplyNeedUTF8            = Reply{553, NonASCIIAddress, "Address needs SMTPUTF8"}
	ReplyRecipientTooLong    = Reply{553, BadRecipientSyntax, "Mailbox name is too long to be stored here"}
	ReplyRecipientUnstorable = Reply{553, NonASCIIAddress, "Mailbox name has characters that cannot be stored here"}
	ReplyNoValidRecipients   = Reply{554, BadSequence, "No valid recipients"}
)

// ReplyGreeting returns the greeting of a host.
func ReplyGreeting(host string) Reply { return Reply{220, "", host + " ESMTP"} }

// ReplyHello returns the reply to HELO, or to EHLO with a line for each keyword.
func ReplyHello(text string) Reply { return Reply{250, "", text} }

// ReplyQueued returns the reply to a committed message.
func ReplyQueued(hash string) Reply { return Reply{250, OK, "OK: queued as " + hash} }

// replySyntax refuses an argument and names the right usage.
func replySyntax(usage string) *Reply { return &Reply{501, BadArguments, "Syntax: " + usage} }

// replyMalformed refuses a parameter or an attribute with its name.
func replyMalformed(kind, name string) *Reply {
	return &Reply{501, BadArguments, "Malformed " + kind + " " + name}
}

// replyTwice refuses a parameter that appears twice.
func replyTwice(name string) *Reply { return &Reply{501, BadArguments, name + " appears twice"} }

// replyAddress refuses the address of a sender or a recipient; the enhanced code
// depends on which of them it is.
func replyAddress(enhanced, whose, why string) *Reply {
	return &Reply{501, enhanced, whose + " address " + why}
}

// replyNotUTF8 refuses an address that is not UTF-8.
func replyNotUTF8(whose string) *Reply {
	return &Reply{553, NonASCIIAddress, whose + " address is not valid UTF-8"}
}
