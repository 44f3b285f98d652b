package smtp

// Enhanced status codes, those that this server has a use for. The first digit
// says how it went: 2 well, 4 not now, 5 not ever (RFC 3463 section 2). What
// the others mean is in the section beside each, of RFC 3463 where no other
// document is named.
const (
	OK          = "2.0.0" // section 3.1, other or undefined status
	SenderOK    = "2.1.0" // section 3.2, other address status
	RecipientOK = "2.1.5" // section 3.2, destination address valid
	ProtocolOK  = "2.5.0" // section 3.6, other protocol status

	SystemTrouble     = "4.3.0" // section 3.4, other mail system status
	SystemFull        = "4.3.1" // section 3.4, mail system full
	NotAccepting      = "4.3.2" // section 3.4, system not accepting network messages
	BadConnection     = "4.4.2" // section 3.5, bad connection
	TooManyRecipients = "4.5.3" // section 3.6, too many recipients
	PolicyNow         = "4.7.0" // section 3.8, other security status

	NoSuchMailbox      = "5.1.1"  // section 3.2, bad destination mailbox address
	BadRecipientSyntax = "5.1.3"  // section 3.2, bad destination mailbox address syntax
	BadSenderSyntax    = "5.1.7"  // section 3.2, bad sender's mailbox address syntax
	MessageTooBig      = "5.3.4"  // section 3.4, message too big for system
	BadSequence        = "5.5.1"  // section 3.6, invalid command
	BadSyntax          = "5.5.2"  // section 3.6, syntax error
	BadArguments       = "5.5.4"  // section 3.6, invalid command arguments
	NonASCIIAddress    = "5.6.7"  // RFC 6531 section 4, non-ASCII addresses not permitted
	NotPermitted       = "5.7.0"  // section 3.8, other security status
	RelayDenied        = "5.7.1"  // section 3.8, delivery not authorized
	LoginFailed        = "5.7.8"  // RFC 4954 section 6, authentication credentials invalid
	EncryptionNeeded   = "5.7.10" // RFC 5248, encryption needed
)
