package main

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

// terminalColumns is the width of the terminal that w is, 0 when it is none.
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

// Columns of a line of -list on a terminal. The hash is whole, to be given to
// -show; sender, recipient and subject share what is left.
const (
	hashColumns = 32
	dateLayout  = "01-02 15:04" // UTC
	sizeColumns = 6
	leastText   = 8 // of each of the three
)

// fitted is one mail on a line of so many columns, if that can be.
func fitted(m savemail.Listed, columns int) string {
	left := columns - hashColumns - len(dateLayout) - sizeColumns - len("     ")
	from := max(left*3/10, leastText)
	subject := max(left-2*from, leastText)
	line := fmt.Sprintf("%-*s %s %s %s %*s %s", hashColumns, printable(m.Hash), m.Date.Format(dateLayout),
		fit(printable(m.From), from), fit(printable(m.To), from), sizeColumns, humanSize(m.Size), fit(printable(m.Subject), subject))
	return strings.TrimRight(line, " ")
}

// fit cuts text, or fills it up, to so many columns.
func fit(text string, columns int) string {
	if textColumns(text) <= columns {
		return text + strings.Repeat(" ", columns-textColumns(text))
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

// runeColumns is how wide a terminal draws a character: Unicode's East Asian
// Width.
func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// humanSize is a number of bytes in at most sizeColumns characters.
func humanSize(n int64) string {
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	size, unit := float64(n)/1000, 0
	for size >= 999.95 { // which has one digit too many when it is rounded
		size /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f%c", size, "kMGTPE"[unit])
}
