package savemail

import (
	"net/netip"
	"time"

	"goguerrillad/internal/envelope"
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
	}
	e.Info.Subject, e.Info.Charset, e.Info.ContentType = "sample", "UTF-8", "text/plain"
	e.SetMessage([]byte(text), 0)
	return e
}
