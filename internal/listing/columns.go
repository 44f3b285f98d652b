package listing

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
	"golang.org/x/text/width"

	"goguerrillad/internal/savemail"
)

// terminalColumns returns the width of a terminal, 0 if w is not a terminal.
func terminalColumns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// The columns of a line on a terminal. The hash is complete, so that it can be
// passed to -show; sender, recipient and subject share the rest.
const (
	hashColumns = 32
	dateLayout  = "01-02 15:04Z" // UTC
	sizeColumns = 6
	minText     = 8 // of sender, recipient and subject each
)

// line formats one message for a terminal of the given width.
func line(m savemail.Listed, columns int) string {
	left := columns - hashColumns - len(dateLayout) - sizeColumns - len("     ")
	from := max(left*3/10, minText)
	subject := max(left-2*from, minText)
	text := fmt.Sprintf("%-*s %-*s %s %s %*s %s", hashColumns, printable(m.Hash), len(dateLayout), date(m, dateLayout),
		fit(printable(m.From), from), fit(printable(m.To), from), sizeColumns, humanSize(m.Size), fit(printable(m.Subject), subject))
	return strings.TrimRight(text, " ")
}

// fit cuts or pads text to the given width.
func fit(text string, columns int) string {
	if n := textColumns(text); n <= columns {
		return text + strings.Repeat(" ", columns-n)
	}
	used := 1 // for the ellipsis
	for i, r := range text {
		if used+runeColumns(r) > columns {
			return text[:i] + "…" + strings.Repeat(" ", columns-used)
		}
		used += runeColumns(r)
	}
	return text
}

func textColumns(text string) (n int) {
	for _, r := range text {
		n += runeColumns(r)
	}
	return n
}

// runeColumns returns the width of a character on a terminal (UAX #11, East Asian
// Width).
func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// humanSize formats a number of bytes in at most sizeColumns characters.
func humanSize(n int64) string {
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	size, unit := float64(n)/1000, 0
	for size >= 999.95 { // %.1f would print 1000.0
		size /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f%c", size, "kMGTPE"[unit])
}
