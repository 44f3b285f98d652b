package mailinfo_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
)

// wantInfo compares the fields of an Info.
func wantInfo(t *testing.T, name string, got, want mailinfo.Info) {
	t.Helper()
	for _, field := range []struct{ name, got, want string }{
		{"Subject", got.Subject, want.Subject},
		{"Charset", got.Charset, want.Charset},
		{"ContentType", got.ContentType, want.ContentType},
	} {
		if field.got != field.want {
			t.Errorf("%s: %s is %q, want %q", name, field.name, field.got, field.want)
		}
	}
	wantAttachments(t, name, got.Attachments, want.Attachments)
}

// wantAttachments compares two lists of attachments.
func wantAttachments(t *testing.T, name string, got, want []mailinfo.Attachment) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s: attachment %d is %+v, want %+v", name, i, got[i], want[i])
		}
	}
	for _, a := range got[min(len(got), len(want)):] {
		t.Errorf("%s: unexpected attachment %+v", name, a)
	}
	for _, a := range want[min(len(got), len(want)):] {
		t.Errorf("%s: no attachment %+v", name, a)
	}
}

// TestMessages parses each message testdata/NAME.eml and compares the result with
// NAME.json.
func TestMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages in testdata, error %v", err)
	}
	for _, file := range files {
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
				MessageID   string                `json:"message_id"`
				ReplyTo     string                `json:"reply_to"`
				Sender      string                `json:"sender"`
			}
			if err := json.Unmarshal(expected, &want); err != nil {
				t.Fatal(err)
			}
			wantInfo(t, file, mailinfo.Parse(message), mailinfo.Info(want))
		})
	}
}
