//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/routing/bgp"
)

// sites is the laboratory:
//
//	router 1 ── V1-1 ─┐         ┌─ V2-1 ── router 2
//	        └── V1-2 ─┤         ├─ V2-2 ──┘
//	                internet
//	router 3 ── V3-1 ─┤
//	        └── V3-2 ─┘
//
// A router is a host with BIRD, and all that its site has. A gateway is two: one outside, in which warren runs, and one inside,
// which has warren's port, BIRD, and the link to the router.
type sites struct {
	t        testing.TB
	lab      *lab.Lab
	program  string
	internet *lab.Host
	routers  map[int]*router
	gateways map[gatewayID]*gateway
	layout   layout
	// ended is how many seconds of processors were used by warrens of a gateway that have ended.
	ended map[gatewayID]float64
}

// hashPorts lets the kernel spread flows between two addresses over several ways.
var hashPorts = [...]string{"net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1"}

type router struct {
	host *lab.Host
	bird *lab.BIRD
}

type gateway struct {
	id              gatewayID
	outside, inside *lab.Host
	bird            *lab.BIRD
	warren          *lab.Process
	client          *warren.Client
	conf, socket    string
}

// newSites builds the network and starts everything in it.
func newSites(t testing.TB, ctx context.Context, program string, how layout) *sites {
	t.Helper()
	l := lab.ForTest(t, append(lab.BIRDPrograms, "ping", "sysctl")...)
	s := &sites{t: t, lab: l, program: program, routers: map[int]*router{}, gateways: map[gatewayID]*gateway{}, layout: how,
		ended: map[gatewayID]float64{}}
	t.Cleanup(s.askToEnd)
	s.internet = s.host("internet", "net.ipv6.conf.all.forwarding=1")
	for n := 1; n <= siteCount; n++ {
		r := &router{host: s.host(fmt.Sprintf("r%d", n), hashPorts[:]...)}
		// The site's network ends nowhere: its only host is the router.
		s.must(s.lab.Connect(lab.Link{A: r.host, B: r.host, DevA: "lan0", DevB: "lan1",
			AddrsA: []string{inside4(n).String() + "/24", inside6(n).String() + "/64"}}))
		s.routers[n] = r
	}
	for _, id := range allGateways() {
		s.addGateway(id)
	}
	for n, r := range s.routers {
		var err error
		r.bird, err = r.host.StartBIRD(ctx, birdOfRouter(n, how))
		s.must(err)
	}
	for id, g := range s.gateways {
		var err error
		g.bird, err = g.inside.StartBIRD(ctx, id.birdOfGateway(how))
		s.must(err)
		s.start(id)
	}
	return s
}

// askToEnd has all gateways leave at once; the lab would ask one after the other.
func (s *sites) askToEnd() {
	for _, g := range s.gateways {
		if g.warren != nil {
			if err := g.warren.Signal(syscall.SIGTERM); err != nil {
				s.t.Error(err)
			}
		}
	}
}

func (s *sites) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sites) host(name string, sysctls ...string) *lab.Host {
	s.t.Helper()
	h, err := s.lab.Host(name)
	s.must(err)
	for _, key := range sysctls {
		_, err := h.Run(s.t.Context(), "sysctl", "-q", "-w", key)
		s.must(err)
	}
	return h
}

// addGateway makes a gateway's two hosts and their links.
func (s *sites) addGateway(id gatewayID) {
	s.t.Helper()
	g := &gateway{id: id, outside: s.host("o" + id.String()), inside: s.host("i"+id.String(), append(hashPorts[:], "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")...)}
	s.gateways[id] = g
	s.must(s.lab.Connect(lab.Link{A: g.outside, B: s.internet, AddrsA: []string{id.public() + "/64"}, AddrsB: []string{id.router() + "/64"}}))
	s.must(g.outside.IP("route", "add", "default", "via", id.router()))
	router4, own4 := id.lan4()
	router6, own6 := id.lan6()
	s.must(s.lab.Connect(lab.Link{A: s.routers[id.site].host, B: g.inside, DevA: fmt.Sprintf("eth%d", id.number), DevB: "eth0",
		AddrsA: []string{router4 + "/31", router6 + "/127"}, AddrsB: []string{own4 + "/31", own6 + "/127"}}))
	g.conf = filepath.Join(s.lab.Dir(), id.String()+".yaml")
	g.socket = filepath.Join(s.lab.Dir(), id.String()+".sock")
	g.client = warren.NewClient(g.socket)
	s.must(os.WriteFile(g.conf, []byte(id.config(g.inside.Namespace, s.layout)), 0o600))
}

// start starts a gateway's warren.
func (s *sites) start(id gatewayID) {
	s.t.Helper()
	g := s.gateways[id]
	var err error
	g.warren, err = g.outside.Start(s.program, "run", "--socket", g.socket, g.conf)
	s.must(err)
}

// converged waits until every gateway has all its neighbors and every router finds two ways to each of the other sites.
func (s *sites) converged(ctx context.Context) {
	s.t.Helper()
	for _, g := range s.gateways {
		s.must(g.warren.Wait(ctx, "the neighbors of "+g.id.String(), func() error { return s.neighbors(ctx, g) }))
	}
	for n := 1; n <= siteCount; n++ {
		s.must(lab.WaitFor(ctx, "the ways of router "+fmt.Sprint(n), func() error { return s.ways(n) }))
	}
}

// neighbors says which neighbor of a gateway is missing.
func (s *sites) neighbors(ctx context.Context, g *gateway) error {
	if s.layout.perTunnel {
		return g.bird.Established(ctx)
	}
	all, err := g.client.Neighbors(ctx)
	if err != nil {
		return err
	}
	if want := 2 * len(g.id.remotes()); len(all) != want {
		return fmt.Errorf("%d neighbors, want %d", len(all), want)
	}
	for _, n := range all {
		if n.State != bgp.Established.String() || s.layout.bfd && n.BFD != "Up" || n.Used == 0 {
			return fmt.Errorf("neighbor %s is %s, BFD %q, %d routes used, last error %q", n.Name, n.State, n.BFD, n.Used, n.LastError)
		}
	}
	return nil
}

// ways says which way of a router to the other sites is missing.
func (s *sites) ways(from int) error {
	for to := 1; to <= siteCount; to++ {
		if to == from {
			continue
		}
		for _, dst := range []netip.Addr{inside4(to), inside6(to)} {
			devices, err := s.routers[from].host.Ways(dst)
			if err != nil {
				return err
			}
			if !slices.Contains(devices, "eth1") || !slices.Contains(devices, "eth2") {
				return fmt.Errorf("the ways to %v are %q", dst, devices)
			}
		}
	}
	return nil
}

// cut lets the internet drop silently what two gateways send each other, or lets it pass again.
func (s *sites) cut(a, b gatewayID, off bool) {
	s.t.Helper()
	verb := "add"
	if !off {
		verb = "del"
	}
	for _, way := range [][2]gatewayID{{a, b}, {b, a}} {
		s.must(s.internet.IP("-6", "rule", verb, "from", way[0].public(), "to", way[1].public(), "blackhole"))
	}
}

// packets are how many each tunnel of a gateway has sent.
func (g *gateway) packets(ctx context.Context) (map[string]uint64, error) {
	st, err := g.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]uint64{}
	for _, t := range st.Tunnels {
		counts[t.Name] = t.OutPackets
	}
	if len(counts) == 0 {
		err = errors.New("no tunnels")
	}
	return counts, err
}
