package metrics

import "math"

// An axis places values between the bottom and the top of a plot.
type axis struct {
	levels []float64                   // with a line and a label
	height func(v float64) (h float64) // from 0 to 1
}

// linear returns an axis from 0 to most.
func linear(most float64) axis {
	return axis{[]float64{0, most / 2, most}, func(v float64) float64 { return v / most }}
}

// rateAxis returns a linear axis up to a round number.
func rateAxis(points []point, lines []curve) axis {
	_, most := extremes(points, lines)
	if most == 0 {
		return linear(1)
	}
	decade := math.Pow10(int(math.Floor(math.Log10(most))))
	for _, round := range []float64{1, 2, 5} {
		if most <= round*decade {
			return linear(round * decade)
		}
	}
	return linear(10 * decade)
}

// timeAxis returns a logarithmic axis, since the slowest messages often take 100 times
// longer than the others.
func timeAxis(points []point, lines []curve) axis {
	least, most := extremes(points, lines)
	if most == 0 {
		least, most = 0.001, 1
	}
	low := math.Floor(math.Log10(least))
	high := max(math.Ceil(math.Log10(most)), low+1)
	return axis{decades(low, high), func(v float64) float64 { return (math.Log10(v) - low) / (high - low) }}
}

// classAxis returns an axis that is linear from 0 to a power of 10 and logarithmic above,
// so that few refusals are visible among many replies.
func classAxis(points []point, lines []curve) axis {
	least, most := extremes(points, lines)
	if most == 0 {
		least, most = 0.1, 1
	}
	high := math.Ceil(math.Log10(most))
	low := min(max(math.Floor(math.Log10(least)), high-4), high-1)
	unit := 1 / (high - low + 1)
	return axis{append([]float64{0}, decades(low, high)...), func(v float64) float64 {
		if first := math.Pow10(int(low)); v < first {
			return unit * v / first
		}
		return unit * (math.Log10(v) - low + 1)
	}}
}

func decades(low, high float64) (all []float64) {
	step := math.Ceil((high - low) / 4)
	for e := low; e <= high; e += step {
		all = append(all, math.Pow10(int(e)))
	}
	return all
}

// extremes returns the least value above 0 and the highest value, 0 if there is none.
func extremes(points []point, lines []curve) (least, most float64) {
	least = math.Inf(1)
	for _, p := range points {
		for _, l := range lines {
			if v := p.values[l.series]; v > 0 { // false for NaN
				least, most = min(least, v), max(most, v)
			}
		}
	}
	return least, most
}
