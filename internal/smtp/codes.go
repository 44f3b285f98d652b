package smtp

// Enhanced status codes. The first digit is the class: 2 success, 4 temporary
// failure, 5 permanent failure. The sections are those of RFC 3463, unless another
// RFC is named.
const (
	codeOK          = "2.0.0" // section 3.1, other or undefined status
	codeSenderOK    = "2.1.0" // section 3.2, other address status
	codeRecipientOK = "2.1.5" // section 3.2, destination address valid
	codeProtocolOK  = "2.5.0" // section 3.6, other protocol status

	codeSystem            = "4.3.0" // section 3.4, other mail system status
	codeSystemFull        = "4.3.1" // section 3.4, mail system full
	codeNotAccepting      = "4.3.2" // section 3.4, system not accepting network messages
	codeBadConnection     = "4.4.2" // section 3.5, bad connection
	codeTooManyRecipients = "4.5.3" // section 3.6, too many recipients
	codePolicy            = "4.7.0" // section 3.8, other security status

	codeNoSuchMailbox      = "5.1.1"  // section 3.2, bad destination mailbox address
	codeBadRecipientSyntax = "5.1.3"  // section 3.2, bad destination mailbox address syntax
	codeBadSenderSyntax    = "5.1.7"  // section 3.2, bad sender's mailbox address syntax
	codeMessageTooBig      = "5.3.4"  // section 3.4, message too big for system
	codeInvalidCommand     = "5.5.1"  // section 3.6, invalid command
	codeSyntax             = "5.5.2"  // section 3.6, syntax error
	codeInvalidArguments   = "5.5.4"  // section 3.6, invalid command arguments
	codeNonASCIIAddress    = "5.6.7"  // RFC 6531 section 4, non-ASCII addresses not permitted
	codeSecurity           = "5.7.0"  // section 3.8, other security status
	codeNotAuthorized      = "5.7.1"  // section 3.8, delivery not authorized
	codeLoginFailed        = "5.7.8"  // RFC 4954 section 6, authentication credentials invalid
	codeEncryptionNeeded   = "5.7.10" // RFC 5248, encryption needed
)
