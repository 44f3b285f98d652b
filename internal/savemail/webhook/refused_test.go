package webhook_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

// TestRefusedRecipients: a response with 2xx refuses the recipients that its JSON body names.
// The others have the message; the message is refused if none is left.
func TestRefusedRecipients(t *testing.T) {
	page := test.ReadPage(t, "webhook.md").Block(t, "json refused")
	var many []string
	for i := range 99 {
		many = append(many, fmt.Sprintf("r%d@example.com", i))
	}
	for _, tt := range []struct {
		kind, body string
		status     int
		to         []string
		refused    int
		want       error
	}{
		{"application/json", page, 200, []string{"a@example.com", "nobody@example.com", "b@example.com"}, 1, nil},
		{"application/json; charset=utf-8", page, 202, append(many, "nobody@example.com"), 1, nil},
		{"application/json", page, 200, []string{"nobody@example.com"}, 0, savemail.ErrRefused},
		{"application/json", `{"refused": ["a@example.com", "b@example.com", "c@example.com"]}`, 200, []string{"a@example.com", "b@example.com"}, 0, savemail.ErrRefused},
		{"application/json", `{"refused": ["other@example.com"]}`, 200, []string{"a@example.com"}, 0, nil},
		{"application/json", `{"refused": []}`, 200, []string{"a@example.com"}, 0, nil},
		{"application/json", `{"refused": "a@example.com"}`, 200, []string{"a@example.com"}, 0, nil},
		{"application/json", `["a@example.com"]`, 200, []string{"a@example.com"}, 0, nil},
		{"application/json", `{"refused": ["a@example.com"`, 200, []string{"a@example.com"}, 0, nil},
		{"application/json", "", 204, []string{"a@example.com"}, 0, nil},
		{"text/html", page, 200, []string{"nobody@example.com", "a@example.com"}, 0, nil},
		{"application/json", strings.Repeat(" ", 20<<10) + page, 200, []string{"a@example.com", "nobody@example.com"}, 0, nil}, // too long
		{"application/json", page, 422, []string{"a@example.com", "nobody@example.com"}, 0, savemail.ErrRefused},
		{"application/json", page, 500, []string{"a@example.com", "nobody@example.com"}, 0, savemail.ErrUnavailable},
	} {
		s, _ := receive(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", tt.kind)
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		e := storetest.Envelope("Subject: x\r\n\r\n", tt.to...)
		err := save(t, s, e, 10*time.Second)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s %.80s: outcome %v, want %v", tt.kind, tt.body, err, tt.want)
		}
		if len(e.Refused) != tt.refused || len(e.To) != len(tt.to)-tt.refused {
			t.Errorf("%s %.80s: recipients %v, refused %v", tt.kind, tt.body, addresses(e.To), addresses(e.Refused))
		}
	}
}

func addresses(list []envelope.Recipient) (all []string) {
	for _, r := range list {
		all = append(all, r.Address)
	}
	return all
}
