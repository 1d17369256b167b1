//go:build linux

package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/bench/program"
	"github.com/warrenvpn/warren/bench/stat"
)

// report is what there is to print.
type report struct {
	world  *world
	warren string // path of the program
	rounds []figures
}

// A row is a figure of all rounds, and what it should be.
type row struct {
	title  string
	of     func(*figures) float64
	target stat.Target
}

var rows = []row{
	{"learned from BIRD, s since Established", func(f *figures) float64 { return f.learned }, stat.Target{AtMost: 5}},
	{"  warren's CPU, s", func(f *figures) float64 { return f.learnedCPU }, stat.Target{AtMost: 5}},
	{"  BIRD's CPU, s", func(f *figures) float64 { return f.senderCPU }, stat.Target{}},
	{"  resident, MB", func(f *figures) float64 { return f.resident }, stat.Target{AtMost: 500}},
	{"  resident at most, MB", func(f *figures) float64 { return f.residentPeak }, stat.Target{AtMost: 500}},
	{"sent to BIRD, s since Established", func(f *figures) float64 { return f.sent }, stat.Target{AtMost: 10}},
	{"  warren's CPU, s", func(f *figures) float64 { return f.sentCPU }, stat.Target{}},
	{"  resident, MB", func(f *figures) float64 { return f.sentResident }, stat.Target{}},
	{"withdrawn by BIRD, s", func(f *figures) float64 { return f.withdrawn }, stat.Target{AtMost: 5}},
	{"  warren's CPU, s", func(f *figures) float64 { return f.withdrawnCPU }, stat.Target{}},
}

func (r *report) write(ctx context.Context, w io.Writer) error {
	fmt.Fprintln(w, program.Machine())
	for _, line := range []func(context.Context) (string, error){r.warrenVersion, birdVersion} {
		text, err := line(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(w, text)
	}
	fmt.Fprintf(w, "%d IPv4 and %d IPv6 prefixes (%s) with %d sets of attributes, in one session each way\n",
		r.world.v4, r.world.v6, r.world.origin, r.world.attributeSets())
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "\nmedian of %d rounds\tvalue (lowest to highest)\ttarget\n", len(r.rounds))
	for _, row := range rows {
		values := make([]float64, len(r.rounds))
		for i := range r.rounds {
			values[i] = row.of(&r.rounds[i])
		}
		s := stat.Summarize(values)
		fmt.Fprintf(out, "%s\t%v\t%s\n", row.title, s, row.target.Verdict(s.Median))
	}
	return out.Flush()
}

func (r *report) warrenVersion(context.Context) (string, error) {
	info, err := buildinfo.ReadFile(r.warren)
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", r.warren, err)
	}
	return "warren: " + info.Main.Version + " " + info.GoVersion, nil
}

func birdVersion(ctx context.Context) (string, error) {
	path, err := lab.Look("bird")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput() // on standard error
	if err != nil {
		return "", fmt.Errorf("ask BIRD for its version: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
