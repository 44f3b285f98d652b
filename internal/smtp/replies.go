package smtp

// The replies without a parameter. Their values never change.
var (
	ReplyOK           = Reply{250, codeOK, "OK"}
	ReplySenderOK     = Reply{250, codeSenderOK, "OK"}
	ReplyRecipientOK  = Reply{250, codeRecipientOK, "OK"}
	ReplyChunkOK      = Reply{250, codeOK, "Chunk received"}
	ReplySendData     = Reply{354, "", "End data with <CR><LF>.<CR><LF>"}
	ReplyStartTLS     = Reply{220, codeOK, "Ready to start TLS"}
	ReplyBye          = Reply{221, codeOK, "Bye"}
	ReplyCannotVerify = Reply{252, codeProtocolOK, "Cannot verify the address, send a message to try it"}
	ReplyHelp         = Reply{214, codeOK, "Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS\n" +
		"This server receives messages and does not relay (RFC 5321)"}

	// Replies that end the session.
	ReplyTimeout         = Reply{421, codeBadConnection, "Timeout, closing connection"}
	ReplyShuttingDown    = Reply{421, codeNotAccepting, "Shutting down, try again later"}
	ReplyTooManyErrors   = Reply{421, codePolicy, "Too many errors, closing connection"}
	ReplyNotHTTP         = Reply{421, codePolicy, "This is not a web server, closing connection"}
	ReplyTooManySessions = Reply{421, codeNotAccepting, "Too many connections, try again later"}
	ReplyTooManyPerIP    = Reply{421, codeNotAccepting, "Too many connections from your address, try again later"}

	// Temporary failures.
	ReplyNotStored          = Reply{451, codeSystem, "Message not stored, try again later"}
	ReplyStoreUnavailable   = Reply{451, codeSystem, "Messages cannot be stored now, try again later"}
	ReplyServerFull         = Reply{451, codeNotAccepting, "Too many connections, try again later"}
	ReplyNoServer           = Reply{451, codeNotAccepting, "No server available, try again later"}
	ReplyNoRecipientYet     = Reply{451, codeSystem, "No recipient accepted yet, try again later"}
	ReplyRecipientUnchecked = Reply{451, codeSystem, "Recipient cannot be checked now, try again later"}
	ReplyNoSpace            = Reply{452, codeSystemFull, "Not enough disk space, try again later"}
	ReplyOutOfMemory        = Reply{452, codeSystemFull, "Out of memory for messages, try again later"}
	ReplyTooManyRecipients  = Reply{452, codeTooManyRecipients, "Too many recipients, send to the rest separately"}

	// Syntax.
	ReplyLineTooLong        = Reply{500, codeSyntax, "Line too long"}
	ReplyNoCRLF             = Reply{500, codeSyntax, "Lines must end with CR LF and contain no other LF"}
	ReplyControlCharacter   = Reply{500, codeSyntax, "CR or NUL inside a line"}
	ReplyUnknownCommand     = Reply{500, codeSyntax, "Unknown command"}
	ReplyNoArgument         = Reply{501, codeInvalidArguments, "No argument allowed"}
	ReplyArgumentMissing    = Reply{501, codeInvalidArguments, "Argument missing"}
	ReplyMalformedParameter = Reply{501, codeInvalidArguments, "Malformed parameter"}
	ReplyMalformedAttribute = Reply{501, codeInvalidArguments, "Malformed attribute"}
	ReplyUnknownAttribute   = Reply{501, codeInvalidArguments, "Unknown attribute"}
	ReplyUnknownParameter   = Reply{555, codeInvalidArguments, "Unknown parameter"}

	// Commands in the wrong order.
	ReplyHelloFirst       = Reply{503, codeInvalidCommand, "Send HELO or EHLO first"}
	ReplyNestedMail       = Reply{503, codeInvalidCommand, "Nested MAIL command"}
	ReplyMailFirst        = Reply{503, codeInvalidCommand, "Send MAIL first"}
	ReplyRcptFirst        = Reply{503, codeInvalidCommand, "Send RCPT first"}
	ReplyMailAndRcpt      = Reply{503, codeInvalidCommand, "Send MAIL and RCPT"}
	ReplyRcptAfterChunk   = Reply{503, codeInvalidCommand, "RCPT not allowed after BDAT"}
	ReplyDataAfterChunk   = Reply{503, codeInvalidCommand, "DATA not allowed after BDAT"}
	ReplyBinaryData       = Reply{503, codeInvalidCommand, "BODY=BINARYMIME needs BDAT"}
	ReplyChunkDiscarded   = Reply{503, codeInvalidCommand, "Chunk discarded after an earlier error"}
	ReplyXClientInMessage = Reply{503, codeInvalidCommand, "XCLIENT not allowed in a transaction"}
	ReplyTLSActive        = Reply{503, codeInvalidCommand, "TLS is already active"}

	// Permanent refusals.
	ReplyNotImplemented      = Reply{502, codeInvalidCommand, "Command not implemented"}
	ReplyNoTLS               = Reply{502, codeInvalidCommand, "TLS is not available"}
	ReplyOnlySMTP            = Reply{502, codeInvalidCommand, "Only SMTP is supported"}
	ReplyNeedTLS             = Reply{530, codeEncryptionNeeded, "REQUIRETLS needs TLS"}
	ReplyNoLogin             = Reply{535, codeLoginFailed, "Authentication is not supported"}
	ReplyNotTrusted          = Reply{550, codeSecurity, "XCLIENT not permitted"}
	ReplyNoSuchRecipient     = Reply{550, codeNoSuchMailbox, "No such recipient here"}
	ReplyRelayingDenied      = Reply{550, codeNotAuthorized, "Relaying denied: no such domain here"}
	ReplyRefused             = Reply{550, codeNotAuthorized, "Message refused"}
	ReplyTooBig              = Reply{552, codeMessageTooBig, "Message too big"}
	ReplyNeedUTF8            = Reply{553, codeNonASCIIAddress, "Address needs SMTPUTF8"}
	ReplyRecipientTooLong    = Reply{553, codeBadRecipientSyntax, "Mailbox name is too long to be stored here"}
	ReplyRecipientUnstorable = Reply{553, codeNonASCIIAddress, "Mailbox name has characters that cannot be stored here"}
	ReplyNoValidRecipients   = Reply{554, codeInvalidCommand, "No valid recipients"}
)

// ReplyGreeting returns the greeting of the server with this host name.
func ReplyGreeting(host string) Reply { return Reply{220, "", host + " ESMTP"} }

// ReplyHello returns the reply to HELO, or to EHLO with a line for each keyword.
func ReplyHello(text string) Reply { return Reply{250, "", text} }

// ReplyQueued returns the reply to a message that is committed and durable. hash is
// the hash of the first recipient's row.
func ReplyQueued(hash string) Reply { return Reply{250, codeOK, "OK: queued as " + hash} }

// replySyntax refuses an argument and states the correct usage.
func replySyntax(usage string) *Reply { return &Reply{501, codeInvalidArguments, "Syntax: " + usage} }

// replyMalformed refuses the value of a parameter or an attribute.
func replyMalformed(kind, name string) *Reply {
	return &Reply{501, codeInvalidArguments, "Malformed " + kind + " " + name}
}

// replyTwice refuses a parameter that appears twice.
func replyTwice(name string) *Reply {
	return &Reply{501, codeInvalidArguments, name + " appears twice"}
}

// replyAddress refuses the address of a sender or a recipient; party is Sender or
// Recipient.
func replyAddress(enhanced, party, problem string) *Reply {
	return &Reply{501, enhanced, party + " address " + problem}
}

// replyNotUTF8 refuses an address that is not UTF-8.
func replyNotUTF8(party string) *Reply {
	return &Reply{553, codeNonASCIIAddress, party + " address is not valid UTF-8"}
}
