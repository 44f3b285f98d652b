package metrics

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// number returns n with a comma between thousands.
func number[N int | int64 | uint64](n N) string {
	s := strconv.FormatUint(uint64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// decimal returns v with up to 3 digits, or all digits before the point.
func decimal(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v >= 99.95:
		return number(uint64(math.Round(v)))
	case v == 0:
		return "0"
	}
	places := min(max(1-int(math.Floor(math.Log10(v))), 1), 6)
	s := strconv.FormatFloat(v, 'f', places, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// seconds returns a duration in ms or s.
func seconds(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v < 0.9995:
		return decimal(1000*v) + " ms"
	}
	return decimal(v) + " s"
}

// size returns a number of bytes with an IEC prefix.
func size(v float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for ; v >= 1023.5 && i < len(units)-1; i++ {
		v /= 1024
	}
	return decimal(v) + " " + units[i]
}

// age returns a duration in its two largest units, or in days from 10 days on.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	units := []struct {
		length time.Duration
		name   string
	}{{day, "day"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	d = max(d, 0)
	for i, u := range units[:len(units)-1] {
		if n := d / u.length; n > 0 {
			next := units[i+1]
			text := count(uint64(n), u.name)
			if rest := d % u.length / next.length; rest > 0 && n < 10*day/u.length {
				text += fmt.Sprintf(" %d %s", rest, next.name)
			}
			return text
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// count returns a number with its unit.
func count(n uint64, unit string) string {
	if n != 1 && unit == "day" {
		unit = "days"
	}
	return number(n) + " " + unit
}

// stamp returns a time in UTC.
func stamp(t time.Time) string { return t.UTC().Format(time.DateTime) }
