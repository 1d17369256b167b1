package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/warrenvpn/warren/bench/stat"
)

// nsPerOp is the unit that ratios compare where they name no other.
const nsPerOp = "ns/op"

// write prints the medians and then the ratios, and returns how many ratios could not be formed.
func (m *measurement) write(w io.Writer, table []ratio) (missing int, err error) {
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "benchmark\t%s, median (lowest to highest) of runs\tother\n", nsPerOp)
	for _, k := range m.order {
		s := m.series[k]
		ns := stat.Summarize(s[nsPerOp])
		fmt.Fprintf(out, "%s %s\t%v of %d\t%s\n", k.pkg, k.name, ns, ns.N, others(s))
	}
	if len(table) == 0 {
		return 0, out.Flush()
	}
	fmt.Fprintf(out, "\t\t\nratio\tmedian (lowest to highest) of runs\ttarget\n")
	for _, r := range table {
		values := m.values(r)
		if values == nil {
			missing++
			fmt.Fprintf(out, "%s\tnot measured\t%s lacks %s\n", r.title, r.pkg, r.needs())
			continue
		}
		s := stat.Summarize(values)
		format := "%s\t%.3f x (%.3f to %.3f) of %d\t%s\n"
		if r.denominator == "" {
			format = "%s\t%.1f (%.1f to %.1f) of %d\t%s\n"
		}
		fmt.Fprintf(out, format, r.title, s.Median, s.Min, s.Max, s.N, r.target.Verdict(s.Median))
	}
	return missing, out.Flush()
}

// values are a ratio's, one a round; nil if they were not measured.
func (m *measurement) values(r ratio) []float64 {
	numerator := m.series[key{r.pkg, r.numerator}]
	if r.denominator == "" {
		return numerator[r.unit]
	}
	unit := cmp.Or(r.unit, nsPerOp)
	denominator := m.series[key{r.pkg, r.denominator}]
	if numerator[unit] == nil || denominator[unit] == nil {
		return nil
	}
	return stat.Ratios(numerator[unit], denominator[unit])
}

// needs says which benchmarks a ratio is made of.
func (r ratio) needs() string {
	if r.denominator == "" {
		return fmt.Sprintf("Benchmark%s with %s", r.numerator, r.unit)
	}
	return fmt.Sprintf("Benchmark%s or Benchmark%s", r.numerator, r.denominator)
}

// others lists the medians of what a benchmark reports besides its time, sorted by unit.
func others(s series) (text string) {
	var units []string
	for unit := range s {
		if unit != nsPerOp {
			units = append(units, unit)
		}
	}
	slices.Sort(units)
	for _, unit := range units {
		text += fmt.Sprintf("%.4g %s  ", stat.Summarize(s[unit]).Median, unit)
	}
	return text
}
