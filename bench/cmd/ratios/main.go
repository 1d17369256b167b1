package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/warrenvpn/warren/bench/program"
)

func main() { program.Main("ratios", run) }

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("ratios", flag.ContinueOnError)
	count := flags.Int("count", 5, "`number` of interleaved rounds")
	benchtime := flags.String("benchtime", "", "`time` of one benchmark in a run, or a number of iterations such as 100x (default 200ms, or what suits the package)")
	pattern := flags.String("bench", ".", "`regexp` of the benchmarks to run; only with packages")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *count < 1 {
		return errors.New("-count wants at least 1")
	}
	table, todo := ratios, jobs(ratios)
	if flags.NArg() > 0 {
		table, todo = nil, nil
		for _, pkg := range flags.Args() {
			todo = append(todo, job{pkg, *pattern, 1})
		}
	}
	m, err := measure(ctx, todo, *count, *benchtime)
	if err != nil {
		return err
	}
	if table == nil {
		table = m.formable(ratios)
	}
	missing, err := m.write(out, table)
	if err == nil && missing > 0 {
		err = fmt.Errorf("%d ratios could not be measured", missing)
	}
	return err
}

// formable are the ratios all of which was measured.
func (m *measurement) formable(table []ratio) (some []ratio) {
	for _, r := range table {
		if m.values(r) != nil {
			some = append(some, r)
		}
	}
	return some
}
