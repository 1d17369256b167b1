//go:build linux

package peers

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/warrenvpn/warren/bench/program"
	"github.com/warrenvpn/warren/bench/stat"
)

// pair is a contender and what it is compared with.
type pair struct{ contender, base string }

// targets are what warren promises, as ratios with respect to a peer: by the title of the quantity.
var targets = map[pair]map[string]stat.Target{
	{warren{}.Name(), wireGuardGo{}.Name()}:                      {titleTCP: {AtLeast: 2}, titleUDP(1300): {AtLeast: 3}, titleUDP(64): {AtLeast: 3}},
	{warren{}.Name(), strongSwan{}.Name()}:                       {titleUDP(1300): {AtLeast: 2}, titleUDP(64): {AtLeast: 2}},
	{warrenWireGuard{}.Name(), wireGuardGo{}.Name()}:             {titleTCP: {AtLeast: 1.4}},
	{warrenWireGuard{facing: true}.Name(), wireGuardGo{}.Name()}: {titleTCP: {AtLeast: 1}},
}

// Write prints the machine, the versions, the table of medians with their spread, and the ratios of the same rounds.
func (r *Results) Write(w io.Writer) error {
	fmt.Fprintln(w, program.Machine())
	for _, c := range r.Contenders {
		fmt.Fprintf(w, "%s: %s\n", c.Name, c.Version)
	}
	o := r.Options
	fmt.Fprintf(w, "median (lowest to highest) of %d interleaved rounds; TCP %v; UDP payload rate at most %.2g %% loss, %d trials of %v\n\n",
		o.Rounds, o.TCPTime, o.MaxLoss*100, o.Steps, o.UDPTime)

	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "\tMTU\t%s\n", strings.Join(r.Quantities, "\t"))
	for _, c := range r.Contenders {
		fmt.Fprintf(table, "%s\t%s", c.Name, c.MTU)
		for _, title := range r.Quantities {
			fmt.Fprintf(table, "\t%s", cell(stat.Summarize(c.Values[title]), ""))
		}
		fmt.Fprintln(table)
	}
	for i, base := range r.Contenders {
		for _, c := range r.Contenders[i+1:] {
			r.writeRatio(table, c, base)
		}
	}
	return table.Flush()
}

func (r *Results) writeRatio(w io.Writer, c, base *Result) {
	fmt.Fprintf(w, "%s ÷ %s\t", c.Name, base.Name)
	for _, title := range r.Quantities {
		ratio := stat.Summarize(stat.Ratios(c.Values[title], base.Values[title]))
		verdict := ""
		if target, ok := targets[pair{c.Name, base.Name}][title]; ok {
			verdict = " target " + target.Verdict(ratio.Median)
		}
		fmt.Fprintf(w, "\t%s", cell(ratio, " x")+verdict)
	}
	fmt.Fprintln(w)
}

func cell(s stat.Summary, unit string) string {
	if math.IsNaN(s.Median) {
		return "not measured"
	}
	return fmt.Sprintf("%.2f%s (%.2f to %.2f)", s.Median, unit, s.Min, s.Max)
}
