//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/warrenvpn/warren/bench/program"
	"github.com/warrenvpn/warren/routing/fib/fibtest"
)

func main() { program.Main("fulltable", run) }

// settings are the command line.
type settings struct {
	rounds   int
	prefixes int
	share    int
	warren   string
}

func parse(args []string) (s settings, err error) {
	flags := flag.NewFlagSet("fulltable", flag.ContinueOnError)
	flags.IntVar(&s.rounds, "rounds", 3, "`number` of rounds")
	flags.IntVar(&s.prefixes, "prefixes", 0, "`number` of prefixes, spread over the table; 0 for all")
	flags.IntVar(&s.share, "share", 8, "`number` of consecutive prefixes that have the same attributes")
	flags.StringVar(&s.warren, "warren", "", "`path` of the warren program; built if empty")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if s.rounds < 1 || s.prefixes < 0 || s.share < 1 {
		return s, errors.New("-rounds and -share want at least 1, -prefixes at least 0")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	table, err := fibtest.Internet()
	if err != nil {
		return err
	}
	warren, remove, err := program.Warren(ctx, s.warren)
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return err
	}
	s.warren = warren
	w := newWorld(table, s.prefixes, s.share)
	r := &report{world: w, warren: s.warren}
	for i := range s.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, s.rounds)
		f, err := round(ctx, w, s.warren)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		r.rounds = append(r.rounds, f)
	}
	return r.write(ctx, out)
}
