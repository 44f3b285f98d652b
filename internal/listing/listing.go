// Package listing prints stored messages, for -list and -show.
package listing

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"goguerrillad/internal/savemail"
)

// List prints the n newest messages, newest first, one per line: hash, date in UTC,
// sender, recipient, size, subject. If w is a terminal, List cuts the lines to its
// width; otherwise the fields are complete, and tabs separate them. With asJSON, each line
// is a JSON object.
func List(ctx context.Context, w io.Writer, r savemail.Reader, f savemail.Filter, asJSON bool) error {
	messages, err := r.List(ctx, f)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if len(messages) == 0 && f == (savemail.Filter{N: f.N}) {
		return errors.New("no messages are stored")
	} else if len(messages) == 0 {
		return errors.New("no stored message matches")
	}
	if asJSON {
		return listJSON(w, messages)
	}
	out, columns := bufio.NewWriter(w), terminalColumns(w)
	for _, m := range messages {
		if columns > 0 {
			fmt.Fprintln(out, line(m, columns))
			continue
		}
		fmt.Fprintf(out, "%s\t%s\t<%s>\t<%s>\t%d\t%s\n", printable(m.Hash),
			date(m, time.RFC3339), printable(m.From), printable(m.To), m.Size, printable(m.Subject))
	}
	return out.Flush()
}

// date formats the date of a message in UTC, which is "-" if the store does not know it.
func date(m savemail.Listed, layout string) string {
	if m.Date.IsZero() {
		return "-"
	}
	return m.Date.UTC().Format(layout)
}

// listJSON prints each message as one JSON object.
func listJSON(w io.Writer, messages []savemail.Listed) error {
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, m := range messages {
		object := struct {
			Hash    string  `json:"hash"`
			Date    *string `json:"date"` // null if it is unknown
			From    string  `json:"from"`
			To      string  `json:"to"`
			Size    int64   `json:"size"`
			Subject string  `json:"subject"`
		}{Hash: m.Hash, From: m.From, To: m.To, Size: m.Size, Subject: m.Subject}
		if text := date(m, time.RFC3339); !m.Date.IsZero() {
			object.Date = &text
		}
		if err := encoder.Encode(object); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	return out.Flush()
}

// hashLength is the length of a complete hash in hexadecimal digits.
const hashLength = 32

// Show writes one message as it arrived, with its added header fields. hash may be the
// beginning of the hash of only one message.
func Show(ctx context.Context, w io.Writer, r savemail.Reader, hash string) error {
	if len(hash) < hashLength {
		found, err := r.Hashes(ctx, hash, 2)
		switch {
		case err != nil:
			return fmt.Errorf("show: %w", err)
		case len(found) == 0:
			return fmt.Errorf("no message has a hash that begins with %s", hash)
		case len(found) > 1:
			return fmt.Errorf("several messages have a hash that begins with %s", hash)
		}
		hash = found[0]
	}
	message, err := r.Show(ctx, hash)
	if errors.Is(err, savemail.ErrNotFound) {
		return fmt.Errorf("no message has the hash %s", hash)
	} else if err != nil {
		return fmt.Errorf("show: %w", err)
	}
	_, err = w.Write(message)
	return err
}

// printable escapes backslashes and unprintable characters, such as the ones that
// control a terminal.
func printable(s string) string {
	clean := func(r rune) bool { return unicode.IsPrint(r) && r != '\\' && r != unicode.ReplacementChar }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if clean(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
