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
)

func main() { program.Main("ikebench", run) }

// settings are the command line.
type settings struct {
	rounds, handshakes, tunnels int
	warren                      string
}

func parse(args []string) (s settings, err error) {
	flags := flag.NewFlagSet("ikebench", flag.ContinueOnError)
	flags.IntVar(&s.rounds, "rounds", 3, "`number` of rounds")
	flags.IntVar(&s.handshakes, "handshakes", 1000, "`number` of handshakes of each kind in a round, at most 60000")
	flags.IntVar(&s.tunnels, "tunnels", 1000, "`number` of tunnels that come up at once, at most 60000")
	flags.StringVar(&s.warren, "warren", "", "`path` of the warren program; built if empty")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	for _, n := range []int{s.handshakes, s.tunnels} {
		if n < 1 || n > 60000 {
			return s, errors.New("-handshakes and -tunnels want 1 to 60000")
		}
	}
	if s.rounds < 1 {
		return s, errors.New("-rounds wants at least 1")
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
	warren, remove, err := program.Warren(ctx, s.warren)
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return err
	}
	s.warren = warren
	r := newReport()
	for i := range s.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, s.rounds)
		if err := round(ctx, &s, r); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	return r.write(out)
}

// round measures everything once.
func round(ctx context.Context, s *settings, r *report) error {
	for _, group := range groups {
		for _, p := range []responder{&warrenResponder{program: s.warren}, charonResponder{}} {
			rate, err := measure(ctx, p, group, s.handshakes)
			if err != nil {
				return fmt.Errorf("%s with %s: %w", p.name(), group, err)
			}
			r.add(rateOf(p.name(), group), rate)
		}
	}
	up, err := thousand(ctx, s.warren, s.tunnels)
	if err != nil {
		return fmt.Errorf("%d tunnels: %w", s.tunnels, err)
	}
	r.add(secondsUp, up.Seconds())
	each, err := memory(ctx, s.tunnels)
	if err != nil {
		return fmt.Errorf("memory of %d tunnels: %w", s.tunnels, err)
	}
	r.add(bytesEach, each/1024)
	return nil
}
