//go:build linux

package peers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// Options say what is measured and how long it may take.
type Options struct {
	Rounds  int
	TCPTime time.Duration // of one stream
	UDPTime time.Duration // of one trial
	Sizes   []int         // octets of UDP payload
	MaxLoss float64       // share of datagrams, 0 to 1
	MaxRate float64       // datagrams per second, where the search begins to halve
	Steps   int           // trials of a search
	Log     func(format string, args ...any)
}

// A quantity is a column of the table.
type quantity struct {
	title   string
	measure func(ctx context.Context, n *Network) (float64, error)
}

func quantities(o Options) []quantity {
	traffic := func(n *Network, d time.Duration) lab.Traffic {
		return lab.Traffic{Server: n.B, Addr: innerB, Bind: innerA, Time: d}
	}
	all := []quantity{{
		title: titleTCP,
		measure: func(ctx context.Context, n *Network) (float64, error) {
			rate, err := n.A.TCPRate(ctx, traffic(n, o.TCPTime))
			return rate / 1e9, err
		},
	}}
	for _, size := range o.Sizes {
		all = append(all, quantity{
			title: titleUDP(size),
			measure: func(ctx context.Context, n *Network) (float64, error) {
				q := lab.NDR{Size: size, MaxLoss: o.MaxLoss, MaxRate: o.MaxRate, Steps: o.Steps}
				rate, err := n.A.NoDropRate(ctx, traffic(n, o.UDPTime), q)
				return rate / 1e3, err
			},
		})
	}
	return all
}

const titleTCP = "TCP 1 stream, Gbit/s"

func titleUDP(size int) string { return fmt.Sprintf("UDP %d B, kpps", size) }

// Results are what was measured: per contender and quantity one value a round, NaN where it failed.
type Results struct {
	Options    Options
	Quantities []string // titles, in the table's order
	Contenders []*Result
}

// Result is one contender's.
type Result struct {
	Name    string
	Version string
	MTU     string // of the interface that packets enter
	Values  map[string][]float64
}

// Measure runs the rounds. A contender that fails does not stop the others: its values are NaN and the returned error names
// it, so results and error may both be there. Only the end of the context ends it early, and then there are no results.
func Measure(ctx context.Context, contenders []Contender, o Options) (*Results, error) {
	results := &Results{Options: o}
	plan := quantities(o)
	for _, q := range plan {
		results.Quantities = append(results.Quantities, q.title)
	}
	var errs []error
	for _, c := range contenders {
		version, err := c.Version(ctx)
		if err != nil {
			version = "unknown"
		}
		errs = append(errs, err)
		results.Contenders = append(results.Contenders, &Result{Name: c.Name(), Version: version, Values: make(map[string][]float64)})
	}
	for number := range o.Rounds {
		o.Log("round %d of %d", number+1, o.Rounds)
		r := round{contenders: contenders, results: results.Contenders, networks: make([]*Network, len(contenders))}
		errs = append(errs, r.run(ctx, plan, number, o.Log))
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("measure side by side: %w", err)
		}
	}
	return results, errors.Join(errs...)
}

// A round has one network a contender; nil for one that did not come up.
type round struct {
	contenders []Contender
	results    []*Result
	networks   []*Network
}

func (r *round) run(ctx context.Context, plan []quantity, number int, log func(string, ...any)) error {
	var errs []error
	for i := range r.contenders {
		if err := r.up(ctx, i); err != nil {
			errs = append(errs, fmt.Errorf("bring %s up: %w", r.contenders[i].Name(), err))
		}
	}
	for _, q := range plan {
		for k := range r.contenders {
			i := (k + number) % len(r.contenders)
			value := math.NaN()
			if r.networks[i] != nil && ctx.Err() == nil {
				v, err := q.measure(ctx, r.networks[i])
				if err == nil {
					value = v
				} else {
					errs = append(errs, fmt.Errorf("measure %s of %s: %w", q.title, r.results[i].Name, err))
				}
				log("  %-14s %-22s %.2f", r.results[i].Name, q.title, value)
			}
			r.results[i].Values[q.title] = append(r.results[i].Values[q.title], value)
		}
	}
	for _, n := range r.networks {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}

// upTime is how long a contender may take until the first packet has crossed.
const upTime = time.Minute

// up brings a contender up in a network of its own and waits until packets cross.
func (r *round) up(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	n, err := newNetwork()
	if err != nil {
		return err
	}
	device, err := r.contenders[i].Up(ctx, n)
	if err == nil {
		err = n.A.WaitReachable(ctx, innerB, "-I", innerA)
	}
	var mtu string
	if err == nil {
		mtu, err = n.A.Run(ctx, "cat", "/sys/class/net/"+device+"/mtu")
	}
	if err != nil {
		return errors.Join(err, n.Close())
	}
	r.results[i].MTU = strings.TrimSpace(mtu)
	r.networks[i] = n
	return nil
}
