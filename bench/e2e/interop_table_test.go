//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// tableEach is how many prefixes of each family the sender announces in TestTableIsInterrupted: so many that their way can be broken in
// the middle.
const tableEach = 60_000

// relay is a host with warren between two BIRDs, of which one announces a table, and the other takes it.
type relay struct {
	*lan
	sender, taker *birdProcess
}

const relayConfig = `vrfs:
  main:
    port: {tun: warren0, netns: %q, addresses: [10.77.0.1/24, "2001:db8:77::1/64"]}
    bgp:
      local_as: 65002
      router_id: 10.77.0.2
      hold_time: 9s
      connect_retry: 1s
      graceful_restart: false
      addresses: [10.77.0.2, "2001:db8:77::2"]
      neighbors:
        - {name: sender, address: 10.77.0.1, neighbor_as: 65001, import: all}
        - {name: taker, address: 10.77.0.3, neighbor_as: 65003, export: [{from: bgp}]}
`

const relayBIRD = `log stderr all;
router id %[1]s;
protocol device {}
%[2]s
protocol bgp warren {
	local %[1]s as %[3]d; neighbor 10.77.0.2 as 65002;
	strict bind on;
	hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 1;
	ipv4 { import all; export where source = RTS_STATIC; };
	ipv6 { import all; export where source = RTS_STATIC; };
}
`

// birdProcess is one of several BIRDs on a host, which may be started again.
type birdProcess struct {
	*lab.BIRD
	l      *lan
	config string
	proc   *lab.Process
}

func (b *birdProcess) start(ctx context.Context, args ...string) {
	b.l.t.Helper()
	var err error
	if b.BIRD, err = b.l.host.StartBIRD(ctx, b.config, args...); err != nil {
		b.l.t.Fatal(err)
	}
	b.proc = b.Process
}

// newRelay starts warren. The BIRDs are not started.
func newRelay(ctx context.Context, t *testing.T, config string) *relay {
	t.Helper()
	r := &relay{lan: newLAN(t, build(t), overIPv4, lab.BIRDPrograms...)}
	if err := os.WriteFile(r.conf, fmt.Appendf(nil, config, r.host.Namespace), 0o600); err != nil {
		t.Fatal(err)
	}
	// Also on the loopback device, so that both can bind to theirs while warren's device is not there.
	for _, a := range []string{"10.77.0.1/32", "10.77.0.3/32"} {
		if err := r.host.AddAddress("lo", a); err != nil {
			t.Fatal(err)
		}
	}
	r.start(ctx)
	r.sender = &birdProcess{l: r.lan}
	r.taker = &birdProcess{l: r.lan, config: fmt.Sprintf(relayBIRD, "10.77.0.3", "", 65003)}
	return r
}

// writeTable writes the sender's routes, eight of which have the same attributes.
func writeTable(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(b, "protocol static s_%s { %s;\n", family, family)
		for i := range tableEach {
			prefix := fmt.Sprintf("%d.%d.%d.0/24", 20+i>>16, i>>8&255, i&255)
			if family == "ipv6" {
				prefix = fmt.Sprintf("2001:db8:%x::/48", i)
			}
			fmt.Fprintf(b, "route %s blackhole { bgp_path.prepend(%d); };\n", prefix, 1000+i/8)
		}
		fmt.Fprintln(b, "}")
	}
	return errors.Join(b.Flush(), f.Close())
}

// neighbor is what warren says of one.
func (r *relay) neighbor(ctx context.Context, name string) (warren.NeighborStatus, error) {
	all, err := r.client.Neighbors(ctx)
	for _, n := range all {
		if n.Name == name {
			return n, nil
		}
	}
	return warren.NeighborStatus{}, errors.Join(err, fmt.Errorf("no neighbor %s", name))
}

// all waits until warren and the taker have the table.
func (r *relay) all(ctx context.Context, when string) {
	r.t.Helper()
	r.await(ctx, when+": the table in warren", r.sender.proc, func() error {
		n, err := r.neighbor(ctx, "sender")
		if err == nil && (n.PrefixesIn != 2*tableEach || n.Used != 2*tableEach) {
			err = fmt.Errorf("%s: %d prefixes, %d used", n.State, n.PrefixesIn, n.Used)
		}
		return err
	})
	r.await(ctx, when+": the table at the taker", r.taker.proc, func() error {
		n, err := r.taker.Imported(ctx, "warren")
		if err == nil && n != 2*tableEach {
			err = fmt.Errorf("%d prefixes", n)
		}
		return err
	})
}

// inTheMiddle breaks a session when a part of the table has come through it. Where all came first it is begun anew.
func (r *relay) inTheMiddle(ctx context.Context, what string, count func() (int, error), again, breakIt func() error) {
	r.t.Helper()
	for range 10 {
		n := 0
		r.await(ctx, what+": some of the table", r.sender.proc, func() (err error) {
			if n, err = count(); err == nil && n == 0 {
				err = errors.New("nothing yet")
			}
			return err
		})
		if n < 2*tableEach {
			if err := breakIt(); err != nil {
				r.t.Fatalf("%s: %v", what, err)
			}
			r.t.Logf("%s with %d of %d prefixes", what, n, 2*tableEach)
			return
		}
		if err := again(); err != nil {
			r.t.Fatal(err)
		}
		r.await(ctx, what+": a new beginning", r.sender.proc, func() error {
			n, err := count()
			if err == nil && n == 2*tableEach {
				err = errors.New("all is still there")
			}
			return err
		})
	}
	r.t.Fatalf("%s: the table was always there at once", what)
}

// TestTableIsInterrupted: a session that drops in the middle of a table, from either neighbour's side or ours, leaves nothing
// behind, and the next one brings all of it.
func TestTableIsInterrupted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r := newRelay(ctx, t, relayConfig)
	routes := filepath.Join(r.lab.Dir(), "routes.conf")
	if err := writeTable(routes); err != nil {
		t.Fatal(err)
	}
	r.sender.config = fmt.Sprintf(relayBIRD, "10.77.0.1", fmt.Sprintf("include %q;", routes), 65001)
	r.taker.start(ctx)
	r.sender.start(ctx)
	received := func() (int, error) { n, err := r.neighbor(ctx, "sender"); return n.PrefixesIn, err }
	sent := func() (int, error) { return r.taker.Imported(ctx, "warren") }
	restart := func(b *birdProcess) func() error {
		return func() error { _, err := b.Ctl(ctx, "restart", "warren"); return err }
	}
	kill := func(p **lab.Process, start func()) func() error {
		return func() error {
			if err := (*p).Signal(syscall.SIGKILL); err != nil {
				return err
			}
			<-(*p).Done()
			start()
			return nil
		}
	}
	r.inTheMiddle(ctx, "the sender closes", received, restart(r.sender), restart(r.sender))
	r.all(ctx, "after the sender closed")
	again := restart(r.sender)
	if err := again(); err != nil {
		t.Fatal(err)
	}
	r.inTheMiddle(ctx, "the sender is killed", received, again, kill(&r.sender.proc, func() { r.sender.start(ctx) }))
	r.all(ctx, "after the sender was killed")
	if err := again(); err != nil {
		t.Fatal(err)
	}
	r.inTheMiddle(ctx, "the taker is killed", sent, again, kill(&r.taker.proc, func() { r.taker.start(ctx) }))
	r.all(ctx, "after the taker was killed")
	if err := again(); err != nil {
		t.Fatal(err)
	}
	r.inTheMiddle(ctx, "warren is killed", received, again, kill(&r.warren, func() { r.start(ctx) }))
	r.all(ctx, "after warren was killed")

	if err := r.sender.proc.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await(ctx, "nothing is left at the taker", r.taker.proc, func() error {
		n, err := sent()
		if err == nil && n > 0 {
			err = fmt.Errorf("%d prefixes", n)
		}
		return err
	})
}
