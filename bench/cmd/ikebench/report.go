//go:build linux

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/warrenvpn/warren/bench/program"
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
var wanted = map[string]stat.Target{"curve25519": {AtLeast: 1}, "ecp384": {AtLeast: 0.5}}

func (r *report) write(w io.Writer) error {
	fmt.Fprintln(w, program.Machine())
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "\nmedian of %d rounds\tvalue (lowest to highest)\ttarget\n", len(r.values[secondsUp]))
	fmt.Fprintln(out, "handshakes a second of CPU as responder")
	for _, group := range groups {
		ours, theirs := stat.Summarize(r.values[rateOf("warren", group)]), stat.Summarize(r.values[rateOf("charon", group)])
		ratio := ours.Median / theirs.Median
		fmt.Fprintf(out, "  %s\t%v\t%.2f × charon, %s\n", rateOf("warren", group), ours, ratio, wanted[group].Verdict(ratio))
		fmt.Fprintf(out, "  %s\t%v\t\n", rateOf("charon", group), theirs)
	}
	for _, f := range []struct {
		title  string
		target stat.Target
	}{{secondsUp, stat.Target{AtMost: 10}}, {bytesEach, stat.Target{AtMost: 64}}} {
		s := stat.Summarize(r.values[f.title])
		fmt.Fprintf(out, "%s\t%v\t%s\n", f.title, s, f.target.Verdict(s.Median))
	}
	return out.Flush()
}
