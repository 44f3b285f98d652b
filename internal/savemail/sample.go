package savemail

import (
	"net/netip"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
)

// Sample returns a message to the postmaster, with which Driver.Inspect tries whether the table
// accepts rows.
func (s Setup) Sample() *envelope.Envelope {
	const text = "Subject: sample\r\n\r\nThis message is rolled back.\r\n"
	address := "postmaster@" + s.Config.PrimaryHost
	e := &envelope.Envelope{
		Remote:   netip.MustParseAddrPort("127.0.0.1:25"),
		Helo:     s.Config.HostName,
		Protocol: "ESMTP",
		Host:     s.Config.HostName,
		From:     address,
		To:       []envelope.Recipient{{Address: address, Hash: new(envelope.HashSource).New()}},
		Date:     time.Now(),
		Info:     mailinfo.Parse([]byte(text)),
	}
	e.SetMessage([]byte(text), 0)
	return e
}
