package session_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"goguerrillad/internal/smtp"
)

// TestVerbs: the reply to HELP lists each verb, except the verbs that are only for proxies
// or never succeed. A dialogue sends each verb.
func TestVerbs(t *testing.T) {
	code, err := os.ReadFile("feed.go")
	if err != nil {
		t.Fatal(err)
	}
	dialogues, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var sent strings.Builder
	for _, file := range dialogues {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sent.Write(text)
	}
	verbs := regexp.MustCompile(`case "([A-Z]+)":`).FindAllStringSubmatch(string(code), -1)
	if len(verbs) < 14 {
		t.Fatalf("%d verbs in feed.go", len(verbs))
	}
	for _, match := range verbs {
		verb := match[1]
		word := regexp.MustCompile(`\b` + verb + `\b`)
		if hidden := verb == "EXPN" || verb == "XCLIENT"; word.MatchString(smtp.ReplyHelp.Text) == hidden {
			t.Errorf("HELP lists %s: %v, want %v", verb, hidden, !hidden)
		}
		if !regexp.MustCompile(`(?m)^C( raw)?: ` + verb + `\b`).MatchString(sent.String()) {
			t.Errorf("no dialogue sends %s", verb)
		}
	}
}
