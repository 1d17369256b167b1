//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// lan is a host with warren's port in it. The speaker on the host and the engine are neighbours, as in the design's example
// of routers on the clear side: the engine's sessions run on its own stack.
type lan struct {
	t       *testing.T
	lab     *lab.Lab
	host    *lab.Host
	program string
	warren  *lab.Process
	client  *warren.Client
	conf    string
	socket  string
	over    transport
}

// transport is which addresses the session is between, that has both families. With both it is two sessions, each with its own.
type transport struct {
	name         string
	theirs, ours string
	both         bool
}

const (
	their4, our4 = "10.77.0.1", "10.77.0.2"
	their6, our6 = "2001:db8:77::1", "2001:db8:77::2"
)

var (
	overIPv4 = transport{name: "IPv4", theirs: their4, ours: our4}
	overIPv6 = transport{name: "IPv6", theirs: their6, ours: our6}
	overBoth = transport{name: "both", both: true}
)

// prefixesEach is how many of a family either side announces.
const prefixesEach = 20

// ourPrefixes and theirPrefixes are what the two sides announce: IPv4, then IPv6.
func ourPrefixes() []string   { return prefixes("172.20.%d.0/24", "2001:db8:a:%x::/64") }
func theirPrefixes() []string { return prefixes("172.30.%d.0/24", "2001:db8:b:%x::/64") }

func prefixes(formats ...string) (all []string) {
	for _, format := range formats {
		for i := range prefixesEach {
			all = append(all, fmt.Sprintf(format, 1+i))
		}
	}
	return all
}

const lanConfig = `vrfs:
  main:
    port: {tun: warren0, netns: %q, addresses: [10.77.0.1/24, "2001:db8:77::1/64"], routes: [%s]}
    bgp:
      local_as: 65002
      router_id: 10.77.0.2
      hold_time: 9s
      connect_retry: 1s
      addresses: [10.77.0.2, "2001:db8:77::2"]
      import: all
      export: [{from: static}]
      neighbors: [%s]
`

func newLAN(t *testing.T, program string, over transport, programs ...string) *lan {
	t.Helper()
	l := &lan{t: t, lab: lab.ForTest(t, programs...), program: program, over: over}
	var err error
	if l.host, err = l.lab.Host("r"); err != nil {
		t.Fatal(err)
	}
	l.conf, l.socket = filepath.Join(l.lab.Dir(), "warren.yaml"), filepath.Join(l.lab.Dir(), "warren.sock")
	l.client = warren.NewClient(l.socket)
	neighbors := fmt.Sprintf("{address: %q, neighbor_as: 65001}", over.theirs)
	if over.both {
		neighbors = fmt.Sprintf("{address: %q, neighbor_as: 65001}, {address: %q, neighbor_as: 65001}", their4, their6)
	}
	text := fmt.Sprintf(lanConfig, l.host.Namespace, `"`+strings.Join(ourPrefixes(), `", "`)+`"`, neighbors)
	if err := os.WriteFile(l.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// Those who give up their privileges still read their files.
	if err := os.Chmod(l.lab.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lan) start(ctx context.Context) {
	l.t.Helper()
	var err error
	if l.warren, err = l.host.Start(l.program, "run", "--socket", l.socket, l.conf); err != nil {
		l.t.Fatal(err)
	}
	err = l.warren.Wait(ctx, "warren", func() error {
		st, err := l.client.Status(ctx)
		if err == nil && st.State != "running" {
			err = errors.New("warren is " + st.State)
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// status is what warren says of its neighbour. Two sessions with it are taken together.
func (l *lan) status(ctx context.Context) (sum warren.NeighborStatus, err error) {
	all, err := l.client.Neighbors(ctx)
	for _, n := range all {
		n.PrefixesIn += sum.PrefixesIn
		n.Used += sum.Used
		if sum.State != "" && sum.State != "Established" {
			n.State = sum.State
		}
		sum = n
	}
	return sum, err
}

// await waits, and shows what everybody has written when it was in vain.
func (l *lan) await(ctx context.Context, what string, with *lab.Process, cond func() error) {
	l.t.Helper()
	if err := lab.WaitFor(ctx, what, cond); err != nil {
		n, _ := l.status(ctx)
		l.t.Fatalf("%v\nneighbor: %+v\nwarren:\n%s\nthe other:\n%s", err, n, end(l.warren.Log()), end(with.Log()))
	}
}

func end(log string) string { return log[max(0, len(log)-4000):] }

// learned says whether warren forwards so many routes of its neighbour.
func (l *lan) learned(ctx context.Context, want int) func() error {
	return func() error {
		n, err := l.status(ctx)
		if err == nil && (n.PrefixesIn != want || n.Used != want || want > 0 && n.State != "Established") {
			err = fmt.Errorf("%s: %d prefixes, %d used, want %d", n.State, n.PrefixesIn, n.Used, want)
		}
		return err
	}
}

// TestInteroperability: what warren and another speaker announce reaches the other, in both families, also after either was
// killed or ended and started again.
func TestInteroperability(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	program := build(t)
	for _, c := range []struct {
		speaker speaker
		over    transport
	}{
		{birdSpeaker, overIPv6}, {frrSpeaker, overIPv4}, {frrSpeaker, overIPv6}, {goBGPSpeaker, overIPv4},
		{openBGPDSpeaker, overBoth}, {exaBGPSpeaker, overIPv4},
	} {
		t.Run(c.speaker.name+" over "+c.over.name, func(t *testing.T) {
			t.Parallel()
			l := newLAN(t, program, c.over, c.speaker.programs...)
			l.interoperate(c.speaker)
		})
	}
}

func (l *lan) interoperate(s speaker) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 3*time.Minute)
	defer cancel()
	l.start(ctx)
	p := l.startSpeaker(ctx, s)
	both := func(when string) {
		l.t.Helper()
		l.await(ctx, when+": its routes in warren", p, l.learned(ctx, 2*prefixesEach))
		l.await(ctx, when+": warren's routes there", p, l.announced(ctx, s, 2*prefixesEach))
	}
	both("at first")
	l.checkRoute(ctx, "172.30.1.0/24")
	l.checkRoute(ctx, "2001:db8:b:1::/64")

	if err := p.Signal(syscall.SIGKILL); err != nil {
		l.t.Fatal(err)
	}
	<-p.Done()
	l.await(ctx, "warren forgets who was killed", p, l.learned(ctx, 0))
	p = l.startSpeaker(ctx, s)
	both("after it was killed")

	if err := l.warren.Stop(); err != nil {
		l.t.Fatalf("SIGTERM: %v\n%s", err, l.warren.Log())
	}
	l.await(ctx, "it forgets warren, which has left", p, l.announced(ctx, s, 0))
	l.start(ctx)
	both("after warren was started again")
}

// startSpeaker starts the other and gives it what it is to announce.
func (l *lan) startSpeaker(ctx context.Context, s speaker) *lab.Process {
	l.t.Helper()
	p, err := s.start(ctx, l)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// announced says whether the other has so many of warren's routes.
func (l *lan) announced(ctx context.Context, s speaker, want int) func() error {
	return func() error {
		has, err := s.learned(ctx, l)
		if err != nil {
			return err
		}
		n := 0
		for _, p := range ourPrefixes() {
			if has[p] {
				n++
			}
		}
		if n != want {
			err = fmt.Errorf("%d of warren's routes, want %d", n, want)
		}
		return err
	}
}

// checkRoute looks at one of the other's routes in warren.
func (l *lan) checkRoute(ctx context.Context, prefix string) {
	l.t.Helper()
	routes, err := l.client.Routes(ctx, prefix)
	if err != nil {
		l.t.Fatal(err)
	}
	if len(routes) != 1 || len(routes[0].Hops) != 1 || routes[0].Hops[0].Via != "warren0" ||
		len(routes[0].Paths) != 1 || routes[0].Paths[0].ASPath != "65001" {
		l.t.Errorf("%s: %+v", prefix, routes)
	}
}
