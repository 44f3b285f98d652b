package webhook

import (
	"encoding/json"
	"fmt"
	"mime"
	"slices"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/smtp"
)

// refuse moves the recipients that the body of a response lists in "refused" from e.To to
// e.Refused. It returns ErrRefused if none remains. A body of another type or form refuses
// nobody.
func refuse(e *envelope.Envelope, contentType string, text []byte) error {
	var body struct {
		Refused []string `json:"refused"`
	}
	if kind, _, _ := mime.ParseMediaType(contentType); kind != "application/json" || json.Unmarshal(text, &body) != nil {
		return nil
	}
	var accepted, refused []envelope.Recipient
	for _, to := range e.To {
		if slices.Contains(body.Refused, to.Address) {
			refused = append(refused, to)
		} else {
			accepted = append(accepted, to)
		}
	}
	if len(accepted) == 0 {
		return fmt.Errorf("%w: %w", savemail.ErrRefused, smtp.ReplyRefused)
	}
	if len(refused) > 0 {
		e.To, e.Refused = accepted, refused
	}
	return nil
}
