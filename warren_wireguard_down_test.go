package warren_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// joint is the site of a vrf that only joins tunnels, so that all of it runs in a bubble: the number of the site, its key, its peer's
// key and endpoint.
const joint = `underlay: {addresses: [192.0.2.%d]}
wireguard: {private_key: %q, listen_port: 51820}
vrfs: {main: {}}
tunnels:
  peer:
    wireguard: {public_key: %q, endpoint: %q}
    routes: [10.0.0.0/8]
`

// joints runs two of them in a bubble, the first of which finds its peer at an endpoint.
func joints(t *testing.T, network *sim.Network, endpoint string, options ...warren.Option) (e [2]*warren.Engine) {
	t.Helper()
	return runJoints(t, network, jointConfigs(t, endpoint), options...)
}

func jointConfigs(t *testing.T, endpoint string) (cfgs [2]*warren.Config) {
	t.Helper()
	private, public := wgKeys(t, 2)
	for i := range cfgs {
		var err error
		if cfgs[i], err = warren.ParseConfig("joint.yaml", fmt.Appendf(nil, joint, i+1, private[i], public[1-i], endpoint)); err != nil {
			t.Fatal(err)
		}
		endpoint = "192.0.2.1:51820"
	}
	return cfgs
}

// runJoints runs them, the first with the options.
func runJoints(t *testing.T, network *sim.Network, cfgs [2]*warren.Config, options ...warren.Option) (e [2]*warren.Engine) {
	t.Helper()
	for i := range e {
		e[i], _ = start(t, cfgs[i], append(options, warren.WithNetwork(network))...)
		options = nil
	}
	synctest.Wait()
	return e
}

func routed(e *warren.Engine) bool {
	via, _ := leadsTo(e, "10.0.0.0/8")
	return via == "peer"
}

func up(t *testing.T, e *warren.Engine) {
	t.Helper()
	if err := e.Up(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	synctest.Wait()
}

// TestPeerDown: nothing is routed to a peer that has not answered for 90 s, until it answers again, which it is asked to without
// packets for it.
func TestPeerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := sim.New(sim.Config{})
		e := joints(t, network, "192.0.2.2:51820")
		cut := func(on bool) {
			network.Cut(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), on)
		}
		if !routed(e[0]) || tunnelStatus(t, e[0], "peer").State != "idle" {
			t.Fatal("nothing is routed to a peer of which nothing is known yet")
		}
		cut(true)
		up(t, e[0])
		time.Sleep(80 * time.Second)
		synctest.Wait()
		if !routed(e[0]) {
			t.Error("a peer is left before its time")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if s := tunnelStatus(t, e[0], "peer").State; routed(e[0]) || s != "down" {
			t.Errorf("a peer that does not answer is %s, and routed to: %v", s, routed(e[0]))
		}
		time.Sleep(time.Hour)
		cut(false)
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if s := tunnelStatus(t, e[0], "peer").State; !routed(e[0]) || s != "up" {
			t.Errorf("a peer that answers again is %s, and routed to: %v", s, routed(e[0]))
		}
	})
}

// resolver knows the addresses of one name, as many as it is given.
type resolver struct {
	mu    sync.Mutex
	addrs []netip.Addr
	asked int
}

func (r *resolver) lookup(_ context.Context, name string) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked++; name != "gw.example" || len(r.addrs) == 0 {
		return nil, errors.New("no such host")
	}
	return r.addrs, nil
}

func (r *resolver) set(addrs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addrs, r.asked = nil, 0
	for _, a := range addrs {
		r.addrs = append(r.addrs, netip.MustParseAddr(a))
	}
}

func (r *resolver) times() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// TestEndpointByName: a name that is not known yet is looked up until it is, not while the peer answers, and again when it does not.
func TestEndpointByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := sim.New(sim.Config{})
		r := new(resolver)
		e := joints(t, network, "gw.example:51820", warren.WithLookup(r.lookup))
		endpoint := func() string { return tunnelStatus(t, e[0], "peer").WireGuard.Endpoint }
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.times(); n < 4 || n > 8 || endpoint() != "gw.example:51820" {
			t.Errorf("an unknown name was looked up %d times; the peer is at %s", n, endpoint())
		}
		// The first address of a family that there is a socket for, and not the other.
		r.set("2001:db8::2", "192.0.2.2")
		time.Sleep(31 * time.Second)
		up(t, e[0])
		if s := tunnelStatus(t, e[0], "peer"); s.State != "up" || endpoint() != "192.0.2.2:51820" {
			t.Errorf("the peer is %s at %s", s.State, endpoint())
		}
		asked := r.times()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := r.times(); n != asked {
			t.Errorf("looked up %d times while the peer answers", n-asked)
		}
		// The peer moves, and its name with it.
		network.Rebind(netip.MustParseAddrPort("192.0.2.2:51820"), netip.MustParseAddrPort("203.0.113.9:51820"))
		r.set("203.0.113.9")
		for range 6 {
			up(t, e[0])
			time.Sleep(30 * time.Second)
		}
		synctest.Wait()
		if s := tunnelStatus(t, e[0], "peer"); s.State != "up" || endpoint() != "203.0.113.9:51820" || !routed(e[0]) || r.times() == 0 {
			t.Errorf("the peer that has moved is %s at %s; looked up %d times", s.State, endpoint(), r.times())
		}
	})
}
