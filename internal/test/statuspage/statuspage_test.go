package statuspage_test

import (
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"goguerrillad/internal/test/statuspage"
)

// TestStates: each page is small and complete, and states why messages are not accepted.
func TestStates(t *testing.T) {
	for _, s := range statuspage.States(t) {
		if n := len(s.Page); n > 60_000 {
			t.Errorf("%s: %d bytes, want at most 60,000", s.Name, n)
		}
		if !strings.Contains(s.Page, s.Text) || !strings.HasSuffix(s.Page, "</html>\n") {
			t.Errorf("%s: the page is incomplete or lacks %q", s.Name, s.Text)
		}
		if got, want := strings.Count(s.Page, "<desc "), strings.Count(s.Page, `role="img"`); got != 10 || got != want {
			t.Errorf("%s: %d plots with %d descriptions, want 10", s.Name, want, got)
		}
		if got, want := strings.Contains(s.Page, "Shaded"), s.Text == "Not accepting messages"; got != want {
			t.Errorf("%s: shaded plots: %v, want %v", s.Name, got, want)
		}
		for _, wrong := range []string{"NaN", "Inf", "%!"} {
			if strings.Contains(s.Page, wrong) {
				t.Errorf("%s: the page contains %s", s.Name, wrong)
			}
		}
	}
}

// TestContrast: texts have a contrast of at least 4.5 with the background, as WCAG 2.2
// requires, and also with shaded times.
func TestContrast(t *testing.T) {
	page := statuspage.States(t)[0].Page
	light := colors(page[:strings.Index(page, "@media")])
	dark := maps.Clone(light)
	maps.Copy(dark, colors(page[strings.Index(page, "@media"):]))
	if len(light) != 11 || light["background"] == dark["background"] {
		t.Fatalf("%d colors, want 11 in two schemes", len(light))
	}
	for scheme, colors := range map[string]map[string]float64{"light": light, "dark": dark} {
		for _, text := range []string{"text", "label", "ok", "warning", "error", "a", "b", "c"} {
			for _, ground := range []string{"background", "band"} {
				if len(text) > 1 && ground == "band" {
					continue // only values are on a band
				}
				high, low := max(colors[text], colors[ground]), min(colors[text], colors[ground])
				if got := (high + 0.05) / (low + 0.05); got < 4.5 {
					t.Errorf("%s: the contrast of %s on %s is %.2f, want at least 4.5", scheme, text, ground, got)
				}
			}
		}
	}
}

// colors returns the relative luminance of each color that CSS defines.
func colors(css string) map[string]float64 {
	all := map[string]float64{}
	for _, m := range regexp.MustCompile(`--(\w+): #([0-9a-f]+)`).FindAllStringSubmatch(css, -1) {
		hex := m[2]
		if len(hex) == 3 {
			hex = strings.Repeat(hex[:1], 2) + strings.Repeat(hex[1:2], 2) + strings.Repeat(hex[2:], 2)
		}
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			n, _ := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
			c := float64(n) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			all[m[1]] += weight * c
		}
	}
	return all
}
