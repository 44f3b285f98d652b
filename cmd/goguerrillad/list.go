package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// readTime bounds what -list and -show ask of the store.
const readTime = time.Minute

// list prints the n newest mails, newest first, one a line: hash, date, from,
// to, size, subject. On a terminal they are cut to its width, elsewhere whole
// and parted by tabs.
func list(w io.Writer, cfg *config.Config, n int) error {
	return withReader(cfg, func(ctx context.Context, r savemail.Reader) error {
		mails, err := r.List(ctx, n)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if len(mails) == 0 {
			return errors.New("no mail is stored")
		}
		out, columns := bufio.NewWriter(w), terminalColumns(w)
		for _, m := range mails {
			if columns > 0 {
				fmt.Fprintln(out, fitted(m, columns))
				continue
			}
			fmt.Fprintf(out, "%s\t%s\t<%s>\t<%s>\t%d\t%s\n", printable(m.Hash),
				m.Date.Format("2006-01-02T15:04:05"), printable(m.From), printable(m.To), m.Size, printable(m.Subject))
		}
		return out.Flush()
	})
}

// show writes one mail as it arrived.
func show(w io.Writer, cfg *config.Config, hash string) error {
	return withReader(cfg, func(ctx context.Context, r savemail.Reader) error {
		mail, err := r.Show(ctx, hash)
		if errors.Is(err, savemail.ErrNotFound) {
			return fmt.Errorf("no mail has the hash %s", hash)
		} else if err != nil {
			return fmt.Errorf("show: %w", err)
		}
		_, err = w.Write(mail)
		return err
	})
}

func withReader(cfg *config.Config, do func(context.Context, savemail.Reader) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	r, err := openReader(cfg)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, r), r.Close())
}

// printable escapes what could move a terminal's cursor or break a line.
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
