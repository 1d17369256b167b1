//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warrenvpn/warren/bench/peers"
	"github.com/warrenvpn/warren/bench/program"
)

func main() { program.Main("sidebyside", run) }

// settings are the command line.
type settings struct {
	options    peers.Options
	contenders []string
	warren     string
}

func parse(args []string) (settings, error) {
	var s settings
	o := &s.options
	o.Log = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	flags := flag.NewFlagSet("sidebyside", flag.ContinueOnError)
	flags.IntVar(&o.Rounds, "rounds", 3, "`number` of interleaved rounds")
	flags.DurationVar(&o.TCPTime, "tcp", 5*time.Second, "`time` of a TCP stream, whole seconds")
	flags.DurationVar(&o.UDPTime, "udp", 2*time.Second, "`time` of a UDP trial, whole seconds")
	flags.Float64Var(&o.MaxLoss, "loss", 0.005, "`share` of datagrams that may be lost, 0 to 1")
	flags.Float64Var(&o.MaxRate, "max", 400e3, "datagrams per `second` where the search begins to halve")
	flags.IntVar(&o.Steps, "steps", 8, "`number` of trials of a search")
	sizes := flags.String("sizes", "1300,64", "UDP payloads in `octets`; empty to leave UDP out")
	names := flags.String("contenders", "wireguard-go,strongswan,warren,warren WireGuard,warren to wireguard-go", "`names` of who takes part")
	flags.StringVar(&s.warren, "warren", "", "`path` of the warren program; built if empty")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.contenders = strings.Split(*names, ",")
	for _, text := range strings.FieldsFunc(*sizes, func(r rune) bool { return r == ',' }) {
		size, err := strconv.Atoi(text)
		if err != nil || size < 16 || size > 65507 {
			return s, fmt.Errorf("-sizes: %q is no UDP payload between 16 and 65507 octets", text)
		}
		o.Sizes = append(o.Sizes, size)
	}
	if o.Rounds < 1 || o.Steps < 1 || o.MaxRate <= 0 || o.MaxLoss < 0 || o.MaxLoss > 1 || o.TCPTime < time.Second || o.UDPTime < time.Second {
		return s, errors.New("-rounds and -steps want at least 1, -max more than 0, -loss 0 to 1, -tcp and -udp at least 1s")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root; as an ordinary user only the benchmarks in memory run (make bench-ratios)")
	}
	if slices.ContainsFunc(s.contenders, func(name string) bool { return strings.HasPrefix(name, "warren") }) {
		path, remove, failed := program.Warren(ctx, s.warren)
		defer func() { err = errors.Join(err, remove()) }()
		if failed != nil {
			// The others can be measured without it, and it will fail to come up by this path.
			fmt.Fprintln(os.Stderr, "sidebyside:", failed)
		}
		s.warren = path
	}
	contenders, err := peers.Contenders(s.contenders, s.warren)
	if err != nil {
		return err
	}
	results, err := peers.Measure(ctx, contenders, s.options)
	if results == nil {
		return err
	}
	fmt.Fprintln(out)
	return errors.Join(results.Write(out), err)
}
