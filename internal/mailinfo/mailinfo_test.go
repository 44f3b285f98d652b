package mailinfo_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
)

// Each testdata/NAME.eml is a mail, NAME.json what is to be read from it.
func TestMails(t *testing.T) {
	mails, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(mails) == 0 {
		t.Fatal("no mails:", err)
	}
	for _, file := range mails {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".eml"), func(t *testing.T) {
			message, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			expected, err := os.ReadFile(strings.TrimSuffix(file, ".eml") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				Subject     string                `json:"subject"`
				Charset     string                `json:"charset"`
				ContentType string                `json:"content_type"`
				Attachments []mailinfo.Attachment `json:"attachments"`
			}
			if err := json.Unmarshal(expected, &want); err != nil {
				t.Fatal(err)
			}
			if len(want.Attachments) == 0 {
				want.Attachments = nil
			}
			got := mailinfo.Parse(message)
			if !reflect.DeepEqual(got, mailinfo.Info(want)) {
				t.Errorf("got  %#v\nwant %#v", got, mailinfo.Info(want))
			}
		})
	}
}
