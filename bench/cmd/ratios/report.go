package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/warrenvpn/warren/bench/stat"
)

// nsPerOp is the unit that ratios compare.
const nsPerOp = "ns/op"

// write prints the medians and then the ratios, and returns how many ratios could not be formed.
func (m *measurement) write(w io.Writer, table []ratio) (missing int, err error) {
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "benchmark, median of %d rounds\t%s (lowest to highest)\tother\n", m.rounds, nsPerOp)
	for _, k := range m.order {
		s := m.series[k]
		ns := stat.Summarize(s[nsPerOp])
		fmt.Fprintf(out, "%s %s\t%.4g (%.4g to %.4g)\t%s\n", k.pkg, k.name, ns.Median, ns.Min, ns.Max, others(s))
	}
	if len(table) == 0 {
		return 0, out.Flush()
	}
	fmt.Fprintf(out, "\t\t\nratio, median of %d rounds\tvalue (lowest to highest)\ttarget\n", m.rounds)
	for _, r := range table {
		numerator, ok1 := m.series[key{r.pkg, r.numerator}]
		denominator, ok2 := m.series[key{r.pkg, r.denominator}]
		if !ok1 || !ok2 {
			missing++
			fmt.Fprintf(out, "%s\tnot measured\t%s lacks Benchmark%s or Benchmark%s\n", r.title, r.pkg, r.numerator, r.denominator)
			continue
		}
		s := stat.Summarize(stat.Ratios(numerator[nsPerOp], denominator[nsPerOp]))
		fmt.Fprintf(out, "%s\t%.3f x (%.3f to %.3f)\t%s\n", r.title, s.Median, s.Min, s.Max, verdict(r.target, s.Median))
	}
	return missing, out.Flush()
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

func verdict(t stat.Target, value float64) string {
	said := ""
	if t.AtLeast != 0 {
		said += fmt.Sprintf("≥ %.2f ", t.AtLeast)
	}
	if t.AtMost != 0 {
		said += fmt.Sprintf("≤ %.2f ", t.AtMost)
	}
	if t.Met(value) {
		return said + "met"
	}
	return said + "missed"
}
