package router

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/route"
)

// The ways of a world: two tunnels, the port, and what is not to be reached.
const (
	hopA fib.HopID = iota + 1
	hopB
	hopPort
	hopNowhere
)

// world is a Router and all whom it tells of routes.
type world struct {
	*Router
	t          *testing.T
	fib        *fib.Table
	a, b, port *route.Via
	static     *route.Peer
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	w := &world{t: t, fib: fib.New(fib.Options{}), static: &route.Peer{Source: route.Static, Name: "main"},
		a: &route.Via{Name: "a", Hop: hopA}, b: &route.Via{Name: "b", Hop: hopB}, port: &route.Via{Name: "port", Hop: hopPort, Device: "tun0"}}
	c := Config{FIB: w.fib, Unreachable: hopNowhere}
	for _, f := range change {
		f(&c)
	}
	w.Router = New(c)
	return w
}

// policyFunc is a Policy.
type policyFunc func(netip.Prefix, route.Path) (route.Path, bool)

func (f policyFunc) Apply(p netip.Prefix, path route.Path) (route.Path, bool) { return f(p, path) }

// all lets everything through.
var all = policyFunc(func(_ netip.Prefix, path route.Path) (route.Path, bool) { return path, true })

// heard is a neighbour's end of a session: what it was told.
type heard struct {
	*bgp.Session
	w *world

	mu     sync.Mutex
	routes map[netip.Prefix]bgp.Change
	ends   int
	told   int // changes
}

// Advertise implements outlet.
func (h *heard) Advertise(changes []bgp.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told += len(changes)
	for _, c := range changes {
		if c.Attrs == nil {
			delete(h.routes, c.Prefix)
		} else {
			h.routes[c.Prefix] = c
		}
	}
}

// EndOfRIB implements outlet.
func (h *heard) EndOfRIB() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends++
}

// neighbor enters one of another AS whose routes lead a way.
func (w *world) neighbor(name string, as uint32, via *route.Via, in, out Policy) *route.Peer {
	w.t.Helper()
	if err := w.SetNeighbor(Neighbor{Name: name, Via: via, Import: in, Export: out}); err != nil {
		w.t.Fatal(err)
	}
	return &route.Peer{Source: route.BGP, Name: name, AS: as, RouterID: as, Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(as)})}
}

// up begins a session of a neighbour.
func (w *world) up(p *route.Peer) *heard {
	h := &heard{w: w, routes: map[netip.Prefix]bgp.Change{}, Session: &bgp.Session{Neighbor: &bgp.Neighbor{Name: p.Name}, Peer: p,
		Local: netip.MustParseAddr("10.0.0.254")}}
	w.begin(h.Session, h)
	return h
}

// join is a neighbour that exchanges everything, and its session.
func (w *world) join(name string, as uint32, via *route.Via) *heard {
	return w.up(w.neighbor(name, as, via, all, all))
}

// path are the attributes of a path through these ASes.
func path(asns ...uint32) *route.Attrs {
	return &route.Attrs{ASPath: []route.Segment{{Type: route.ASSequence, ASNs: asns}}, NextHop: netip.MustParseAddr("10.0.0.1")}
}

// announce has the neighbour announce prefixes, or with nil withdraw them.
func (h *heard) announce(a *route.Attrs, prefixes ...string) bgp.Counts {
	var routes []bgp.Route
	for _, p := range prefixes {
		routes = append(routes, bgp.Route{Prefix: netip.MustParsePrefix(p), Attrs: a})
	}
	return h.w.Update(h.Session, routes)
}

func (h *heard) down(stale ...message.Family) {
	h.w.Down(h.Session, message.FamiliesOf(stale...), fmt.Errorf("the test says so"))
}

// hears checks what the neighbour was told: prefixes with their AS paths, as "prefix path".
func (h *heard) hears(want ...string) {
	h.w.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []string
	for _, p := range slices.SortedFunc(maps.Keys(h.routes), netip.Prefix.Compare) {
		got = append(got, strings.TrimSpace(p.String()+" "+h.routes[p].Attrs.PathString()))
	}
	if !slices.Equal(got, want) {
		h.w.t.Errorf("%s hears %q, want %q", h.Peer.Name, got, want)
	}
}

// forwards checks where the fib leads for exactly a prefix, as "1 2"; with "" there is no such route.
func (w *world) forwards(prefix, want string) {
	w.t.Helper()
	hops, _ := w.fib.Get(netip.MustParsePrefix(prefix))
	slices.SortFunc(hops, func(a, b fib.Hop) int { return int(a.ID) - int(b.ID) })
	var got []string
	for _, h := range hops {
		text := fmt.Sprint(h.ID)
		if h.Weight != 1 {
			text += fmt.Sprintf("*%d", h.Weight)
		}
		got = append(got, text)
	}
	if s := strings.Join(got, " "); s != want {
		w.t.Errorf("%s leads to %q, want %q", prefix, s, want)
	}
}

// offer enters routes of the configuration.
func (w *world) offer(via *route.Via, prefixes ...string) {
	for _, p := range prefixes {
		w.Offer(Change{Prefix: netip.MustParsePrefix(p), Path: route.Path{Peer: w.static, Via: via}})
	}
}
