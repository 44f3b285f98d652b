package savemail

import (
	"net/netip"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/envelope"
)

// Sample returns a message to the postmaster of a domain that receives messages, for Setup.Sample.
func Sample(cfg *config.Config) *envelope.Envelope {
	const text = "Subject: sample\r\n\r\nThis message is rolled back.\r\n"
	address := "postmaster@" + cfg.Hosts.Example(cfg.PrimaryHost)
	e := &envelope.Envelope{
		Remote:   netip.MustParseAddrPort("127.0.0.1:25"),
		Helo:     cfg.HostName,
		Protocol: "ESMTP",
		Host:     cfg.HostName,
		From:     address,
		To:       []envelope.Recipient{{Address: address, Hash: new(envelope.HashSource).New()}},
		Date:     time.Now(),
	}
	e.Info.Subject, e.Info.Charset, e.Info.ContentType = "sample", "UTF-8", "text/plain"
	e.SetMessage([]byte(text), 0)
	return e
}
