package main

import (
	"fmt"
	"html"
	"strings"
)

// Dimensions of the chart, in pixels.
const (
	chartWidth = 800
	barLeft    = 190 // the names are to the left of it
	barMax     = 420 // the longest bar
	barHeight  = 16
	barStep    = 22
	headHeight = 30
	caseGap    = 14
)

// chart returns the rates as self-contained SVG for light and dark pages, with a block for
// each case and a bar for each contestant.
func (r *report) chart() string {
	var b strings.Builder
	y := headHeight
	for _, c := range r.Cases {
		results := r.of(c.Name)
		if len(results) == 0 {
			continue
		}
		most := 0.0
		for _, result := range results {
			most = max(most, result.Rate.Median)
		}
		fmt.Fprintf(&b, `<text class="head" x="0" y="%d">%s</text>`+"\n", y, html.EscapeString(c.Name+": "+c.Title))
		y += barStep / 2
		for _, result := range results {
			kind := "other"
			if strings.HasPrefix(result.Contestant, "goguerrillad") {
				kind = "ours"
			}
			width := int(barMax * ratio(result.Rate.Median, most))
			label := fmt.Sprintf("%.0f/s", result.Rate.Median)
			if result.Ratio > 0 {
				label += fmt.Sprintf(", x %.2f", result.Ratio)
			}
			label += fmt.Sprintf(", %.0f µs", result.ServerCPU.Median)
			fmt.Fprintf(&b, `<text x="0" y="%d">%s</text><rect class="%s" x="%d" y="%d" width="%d" height="%d"/><text x="%d" y="%d">%s</text>`+"\n",
				y+barHeight-4, html.EscapeString(result.Contestant), kind, barLeft, y, width, barHeight, barLeft+width+6, y+barHeight-4, label)
			y += barStep
		}
		y += headHeight - barStep/2 + caseGap
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">
<title>Messages per second, the ratio to the reference of the case, and server CPU per message</title>
<style>text{font:13px sans-serif;fill:#222}.head{font-weight:bold}.ours{fill:#2a6fb0}.other{fill:#9aa4ad}
@media(prefers-color-scheme:dark){text{fill:#ddd}.ours{fill:#5ba3e6}.other{fill:#6b757e}}</style>
%s</svg>
`, chartWidth, y, b.String())
}

// of returns the results of a case.
func (r *report) of(name string) (results []result) {
	for _, result := range r.Results {
		if result.Case == name {
			results = append(results, result)
		}
	}
	return results
}
