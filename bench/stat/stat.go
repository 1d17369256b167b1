package stat

import (
	"fmt"
	"math"
	"slices"
)

// Summary describes the values of several rounds, in their unit.
type Summary struct {
	Median, Min, Max float64
	N                int // rounds that gave a value
}

// Summarize leaves out NaN, which stands for a round without a value. Of nothing everything is NaN. The median of an even
// number of values is the mean of the middle two.
func Summarize(values []float64) Summary {
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	n := len(sorted)
	if n == 0 {
		return Summary{Median: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	}
	slices.Sort(sorted)
	return Summary{
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		Min:    sorted[0],
		Max:    sorted[n-1],
		N:      n,
	}
}

// String is the median and, in brackets, the lowest and the highest, to four digits.
func (s Summary) String() string { return fmt.Sprintf("%.4g (%.4g to %.4g)", s.Median, s.Min, s.Max) }

// Ratios divides two series round by round. A round that lacks either value, or whose divisor is zero, gives NaN.
func Ratios(numerator, denominator []float64) []float64 {
	ratios := make([]float64, min(len(numerator), len(denominator)))
	for i := range ratios {
		ratios[i] = numerator[i] / denominator[i]
		if denominator[i] == 0 {
			ratios[i] = math.NaN()
		}
	}
	return ratios
}

// A Target is what a ratio should reach. The zero value asks for nothing.
type Target struct {
	AtLeast, AtMost float64 // zero: no such bound
}

// Met says whether a value reaches the target; NaN reaches none.
func (t Target) Met(v float64) bool {
	return !math.IsNaN(v) && (t.AtLeast == 0 || v >= t.AtLeast) && (t.AtMost == 0 || v <= t.AtMost)
}

// Verdict says what the target is and whether a value meets it: "≥ 2 met". It is empty where nothing is asked.
func (t Target) Verdict(v float64) string {
	if t == (Target{}) {
		return ""
	}
	said := ""
	if t.AtLeast != 0 {
		said += fmt.Sprintf("≥ %g ", t.AtLeast)
	}
	if t.AtMost != 0 {
		said += fmt.Sprintf("≤ %g ", t.AtMost)
	}
	if t.Met(v) {
		return said + "met"
	}
	return said + "missed"
}
