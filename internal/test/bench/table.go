package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// print writes the report as text: the cases, Markdown tables of the results, the probes,
// and the conditions of the measurement.
func (r *report) print(w io.Writer) error {
	var b strings.Builder
	switch r.Mode {
	case scaling:
		b.WriteString(r.scalingTables())
	case service:
		b.WriteString(r.serviceTables())
	default:
		b.WriteString(r.tables())
	}
	fmt.Fprintf(&b, "Measurements repeated because other processes used over %.0f %% of the machine: %d; kept nevertheless: %d (marked !).\n",
		100*foreignLimit, r.Repeated, r.disturbed())
	if len(r.Probes) > 0 {
		rows := [][]string{{"contestant", "probe", "", "unit"}}
		for _, p := range r.Probes {
			rows = append(rows, []string{p.Contestant, p.Name, fmt.Sprintf("%.3g", p.Value), p.Unit})
		}
		b.WriteString("\n" + align(rows))
	}
	for _, group := range []struct {
		title string
		lines []setting
	}{{"Machine", r.Machine}, {"Versions", r.Versions}, {"Settings", r.Settings}, {"Not run", r.Skipped}} {
		if len(group.lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", group.title)
		for _, s := range group.lines {
			fmt.Fprintf(&b, "  %s: %s\n", s.Name, s.Value)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

// tables returns the cases, the results and their explanation.
func (r *report) tables() string {
	var b strings.Builder
	for _, c := range r.Cases {
		fmt.Fprintf(&b, "case %s: %s; %d messages per measurement, %d sessions; reference %s\n", c.Name, c.Title, c.Messages, c.Sessions, c.base)
	}
	b.WriteString("\n" + table(r.Results) + "\n" + details(r.Results) + "\n")
	fmt.Fprintf(&b, "Medians of %d rounds in random order (seed %d), %s in all, with the least and the greatest value in parentheses.\n",
		r.Rounds, r.Seed, r.duration())
	b.WriteString("Ratios compare medians of the same rounds. x: to the case's reference; x go-smtp: to a go-smtp server that stores nothing;\n" +
		"/ discard: to goguerrillad-discard. CPU is in µs per message, with that of a database or a proxy. Beyond discard, beyond\n" +
		"handshake: server CPU minus that of goguerrillad-discard or of bare TLS in the same round. Waits are from the final dot\n" +
		"to the 250, in milliseconds. Client and servers share the machine. Peak RSS counts over all cases.\n")
	return b.String()
}

// duration returns the duration of the whole run.
func (r *report) duration() time.Duration {
	return time.Duration(r.Seconds * float64(time.Second)).Round(time.Second)
}

// disturbed returns the number of disturbed samples that were kept.
func (r *report) disturbed() int {
	n := 0
	for _, result := range r.Results {
		n += result.Disturbed
	}
	return n
}

// table returns the main figures of the results as a Markdown table.
func table(results []result) string {
	rows := [][]string{{"contestant", "durable at 250", "case", "msgs/s", "x", "/ discard",
		"server CPU", "x", "beyond discard", "beyond handshake", "samples"}}
	for _, r := range results {
		rows = append(rows, []string{
			r.Contestant, r.Durable, r.Case, r.Rate.String(), orDash(r.Ratio, "%.2f"), orDash(r.OfDiscard, "%.2f"),
			r.ServerCPU.String(), orDash(r.CPURatio, "%.2f"), r.BeyondDiscard.String(), r.BeyondHandshake.String(), r.sampleCount(),
		})
	}
	return align(rows)
}

// sampleCount returns the number of samples, and of the disturbed ones.
func (r result) sampleCount() string {
	if r.Disturbed > 0 {
		return fmt.Sprintf("%d (%d!)", len(r.Samples), r.Disturbed)
	}
	return fmt.Sprint(len(r.Samples))
}

// details returns the other figures of the results as a Markdown table.
func details(results []result) string {
	rows := [][]string{{"contestant", "case", "reference", "x go-smtp", "client CPU", "wait 50 %", "99 %", "other CPU", "peak RSS"}}
	for _, r := range results {
		rows = append(rows, []string{
			r.Contestant, r.Case, orDash(r.Reference, "%.0f"), orDash(r.GoRatio, "%.2f"), fmt.Sprintf("%.0f", r.ClientCPU),
			orDash(r.Median, "%.1f"), orDash(r.Slow, "%.1f"),
			fmt.Sprintf("%.0f %%", 100*r.Foreign), fmt.Sprintf("%d MiB", r.PeakRSS>>20),
		})
	}
	return align(rows)
}

// String formats a spread, "-" for nil, which means that there is no value.
func (s *spread) String() string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f (%.0f to %.0f)", s.Median, s.Min, s.Max)
}

// orDash formats a value, or returns "-" for 0, which means that there is no value.
func orDash(v float64, format string) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

// align returns a Markdown table with cells of equal width; the first row is the head.
func align(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %-*s ", widths[i], cell)
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				b.WriteString("|" + strings.Repeat("-", width+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}
