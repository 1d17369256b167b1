//go:build linux

package main

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"

	"github.com/warrenvpn/warren/bench/stat"
)

// The figures beside the rates.
const (
	secondsUp = "all tunnels up from nothing, s"
	bytesEach = "memory of a tunnel, heap and stacks, KiB"
)

func rateOf(program, group string) string { return program + ", PSK, " + group }

// report is what was measured, by figure.
type report struct{ values map[string][]float64 }

func newReport() *report { return &report{values: map[string][]float64{}} }

func (r *report) add(figure string, value float64) {
	r.values[figure] = append(r.values[figure], value)
}

// wanted is what part of charon's rate warren's is to be at least.
var wanted = map[string]float64{"curve25519": 1, "ecp384": 0.5}

func (r *report) write(w io.Writer) error {
	fmt.Fprintf(w, "%d cores, %s\n", runtime.NumCPU(), runtime.Version())
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "\nmedian of %d rounds\tvalue (lowest to highest)\ttarget\n", len(r.values[secondsUp]))
	fmt.Fprintln(out, "handshakes a second of CPU as responder")
	for _, group := range groups {
		ours, theirs := stat.Summarize(r.values[rateOf("warren", group)]), stat.Summarize(r.values[rateOf("charon", group)])
		ratio := ours.Median / theirs.Median
		fmt.Fprintf(out, "  %s\t%s\t≥ %g × charon: %.2f × %s\n", rateOf("warren", group), spread(ours), wanted[group], ratio, met(ratio >= wanted[group]))
		fmt.Fprintf(out, "  %s\t%s\t\n", rateOf("charon", group), spread(theirs))
	}
	for _, f := range []struct {
		title  string
		atMost float64
	}{{secondsUp, 10}, {bytesEach, 64}} {
		s := stat.Summarize(r.values[f.title])
		fmt.Fprintf(out, "%s\t%s\t≤ %g %s\n", f.title, spread(s), f.atMost, met(s.Median <= f.atMost))
	}
	return out.Flush()
}

func spread(s stat.Summary) string { return fmt.Sprintf("%.4g (%.4g to %.4g)", s.Median, s.Min, s.Max) }

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "missed"
}
