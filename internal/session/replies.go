package session

import "goguerrillad/internal/smtp"

// The replies of a session that are always the same. They are never changed.
var (
	ok       = smtp.Reply{Code: 250, Enhanced: smtp.OK, Text: "OK"}
	mailOK   = smtp.Reply{Code: 250, Enhanced: smtp.SenderOK, Text: "OK"}
	rcptOK   = smtp.Reply{Code: 250, Enhanced: smtp.RecipientOK, Text: "OK"}
	chunkOK  = smtp.Reply{Code: 250, Enhanced: smtp.OK, Text: "OK, next chunk"}
	goAhead  = smtp.Reply{Code: 354, Text: "End data with <CR><LF>.<CR><LF>"}
	startTLS = smtp.Reply{Code: 220, Enhanced: smtp.OK, Text: "Ready to start TLS"}
	bye      = smtp.Reply{Code: 221, Enhanced: smtp.OK, Text: "Bye"}
	helpText = smtp.Reply{Code: 214, Enhanced: smtp.OK, Text: "Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS\n" +
		"This server receives mail and relays none (RFC 5321)"}
	cannotVerify = smtp.Reply{Code: 252, Enhanced: smtp.ProtocolOK, Text: "Cannot verify, but send mail and it will be tried"}

	// Ends of a session.
	timedOut      = smtp.Reply{Code: 421, Enhanced: smtp.BadConnection, Text: "Timeout, closing connection"}
	shuttingDown  = smtp.Reply{Code: 421, Enhanced: smtp.NotAccepting, Text: "Shutting down, try again later"}
	tooManyErrors = smtp.Reply{Code: 421, Enhanced: smtp.PolicyNow, Text: "Too many errors, closing connection"}
	notHTTP       = smtp.Reply{Code: 421, Enhanced: smtp.PolicyNow, Text: "This is no web server, closing connection"}

	// For the time being.
	notSaved          = smtp.Reply{Code: 451, Enhanced: smtp.SystemTrouble, Text: "Mail not stored, try again later"}
	noRecipientYet    = smtp.Reply{Code: 451, Enhanced: smtp.SystemTrouble, Text: "No recipient taken yet, try again later"}
	systemFull        = smtp.Reply{Code: 452, Enhanced: smtp.SystemFull, Text: "Out of memory for messages, try again later"}
	tooManyRecipients = smtp.Reply{Code: 452, Enhanced: smtp.TooManyRecipients, Text: "Too many recipients, send to the rest separately"}

	// Syntax.
	lineTooLong  = smtp.Reply{Code: 500, Enhanced: smtp.BadSyntax, Text: "Line too long"}
	noCRLF       = smtp.Reply{Code: 500, Enhanced: smtp.BadSyntax, Text: "Lines end with CR LF, and hold no LF"}
	strayControl = smtp.Reply{Code: 500, Enhanced: smtp.BadSyntax, Text: "CR or NUL inside a line"}
	unknownVerb  = smtp.Reply{Code: 500, Enhanced: smtp.BadSyntax, Text: "Unknown command"}
	noArgument   = smtp.Reply{Code: 501, Enhanced: smtp.BadArguments, Text: "No argument allowed"}
	needArgument = smtp.Reply{Code: 501, Enhanced: smtp.BadArguments, Text: "Argument missing"}

	// Order.
	needHello      = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "Send HELO or EHLO first"}
	nestedMail     = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "Nested MAIL command"}
	needMail       = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "Send MAIL first"}
	needRcpt       = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "Send RCPT first"}
	rcptInChunks   = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "RCPT behind BDAT"}
	dataInChunks   = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "DATA behind BDAT"}
	binaryData     = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "BODY=BINARYMIME needs BDAT"}
	afterLostChunk = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "Chunk discarded after an earlier error"} // no new error
	xclientInMail  = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "XCLIENT inside a transaction"}
	alreadySecure  = smtp.Reply{Code: 503, Enhanced: smtp.BadSequence, Text: "TLS is active already"}

	// For good.
	notImplemented    = smtp.Reply{Code: 502, Enhanced: smtp.BadSequence, Text: "Command not implemented"}
	noTLS             = smtp.Reply{Code: 502, Enhanced: smtp.BadSequence, Text: "TLS is not available"}
	notTrusted        = smtp.Reply{Code: 550, Enhanced: smtp.NotPermitted, Text: "XCLIENT is not for you"}
	notOurs           = smtp.Reply{Code: 550, Enhanced: smtp.RelayDenied, Text: "Relaying denied: no such domain here"}
	tooBig            = smtp.Reply{Code: 552, Enhanced: smtp.MessageTooBig, Text: "Message too big"}
	needUTF8          = smtp.Reply{Code: 553, Enhanced: smtp.NonASCIIAddress, Text: "Address needs SMTPUTF8"}
	needTLS           = smtp.Reply{Code: 530, Enhanced: smtp.EncryptionNeeded, Text: "REQUIRETLS needs TLS"}
	noValidRecipients = smtp.Reply{Code: 554, Enhanced: smtp.BadSequence, Text: "No valid recipients"}
)
