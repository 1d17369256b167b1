package warren_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
)

// bgpReload are two sites with BGP through a tunnel, and one tunnel more for who wants it.
func bgpReload(t *testing.T) (sites [2]*reloadSite, more [2]string) {
	t.Helper()
	for i := range sites {
		sites[i] = &reloadSite{self: i + 1, peer: 2 - i,
			head: "underlay: {addresses: [192.0.2.%[1]d]}\n",
			vrf: `    port: {netstack: {addresses: [10.%[1]d.0.1/24, 10.%[1]d.7.1/24]}}
    bgp: {local_as: 6500%[1]d, router_id: 10.0.0.%[1]d, hold_time: 90s, multipath: 4, import: all, export: [{from: connected}]}
`,
			tunnels: map[string]string{"peer": neighborByHand(1, 10, i, "")}}
		more[i] = neighborByHand(2, 20, i, "")
	}
	return sites, more
}

// neighborByHand is a tunnel with a BGP neighbour behind it.
func neighborByHand(net, spi, i int, more string) string {
	text := byHand(net, spi)
	at := strings.Index(text, "    routes:")
	return text[:at] + fmt.Sprintf("    addresses: [169.254.%d.%d/31]\n    bgp: {neighbor_as: 6500%%[2]d%s}\n", net, i, more)
}

// session is how the only session with a neighbour stands.
func session(t *testing.T, e *warren.Engine, name string) warren.NeighborStatus {
	t.Helper()
	for _, n := range e.Neighbors() {
		if n.Name == name {
			return n
		}
	}
	return warren.NeighborStatus{}
}

// TestApplyBGP: policies change under sessions that go on, neighbours come and go with their tunnels, and a neighbour that changes is
// spoken to anew.
func TestApplyBGP(t *testing.T) {
	sites, more := bgpReload(t)
	e := startReload(t, sites)
	learned := func(prefix, via string) func() bool {
		return func() bool { got, source := leadsTo(e[0], prefix); return got == via && (via == "" || source == "bgp") }
	}
	eventually(t, "both networks are learned", patience, func() bool {
		return learned("10.2.0.0/24", "peer")() && learned("10.2.7.0/24", "peer")()
	})
	since := session(t, e[0], "peer").Since

	sites[1].vrf = strings.Replace(sites[1].vrf, "{from: connected}", `{from: connected, prefixes: ["10.2.0.0/24"]}`, 1)
	sites[1].apply(t, e[1])
	eventually(t, "what is exported no more is withdrawn", patience, learned("10.2.7.0/24", ""))
	sites[0].vrf = strings.Replace(sites[0].vrf, "import: all", `import: [{prefixes: ["10.2.7.0/24"]}]`, 1)
	sites[0].apply(t, e[0])
	eventually(t, "what is imported no more is gone", patience, learned("10.2.0.0/24", ""))
	sites[1].vrf = strings.Replace(sites[1].vrf, `["10.2.0.0/24"]`, `["10.2.7.0/24"]`, 1)
	sites[1].apply(t, e[1])
	eventually(t, "what is exported and imported is learned", patience, learned("10.2.7.0/24", "peer"))
	for i := range e {
		if n := session(t, e[i], "peer"); n.State != "Established" || i == 0 && !n.Since.Equal(since) {
			t.Errorf("engine %d: the session is %s since %v, want since %v", i, n.State, n.Since, since)
		}
	}

	for i, s := range sites {
		s.tunnels["more"] = more[i]
		s.apply(t, e[i])
	}
	eventually(t, "the new tunnel is used too", patience, func() bool {
		for _, r := range e[0].Routes(netip.MustParsePrefix("10.2.7.0/24")) {
			if len(r.Hops) == 2 {
				return true
			}
		}
		return false
	})
	if n := session(t, e[0], "peer"); !n.Since.Equal(since) {
		t.Error("the session of the other tunnel was begun anew")
	}
	delete(sites[0].tunnels, "peer")
	sites[0].apply(t, e[0])
	eventually(t, "the neighbour hears that it is one no more", 30*time.Second, func() bool { return session(t, e[1], "peer").State != "Established" })
	delete(sites[1].tunnels, "peer")
	sites[1].apply(t, e[1])
	if learned := learned("10.2.7.0/24", "more"); !learned() {
		t.Error("what was learned from the neighbour that stays is gone, or what from the other one is not")
	}
	names := []string{}
	for _, n := range e[0].Neighbors() {
		names = append(names, n.Name)
	}
	if !slices.Equal(names, []string{"more"}) {
		t.Errorf("neighbours %q", names)
	}
	for i, s := range sites {
		s.tunnels["more"] = neighborByHand(2, 20, i, ", hold_time: 12s, bfd: {interval: 300ms, multiplier: 20}")
		s.apply(t, e[i])
	}
	eventually(t, "the changed neighbour is back, and watched", patience, func() bool {
		n := session(t, e[0], "more")
		return n.State == "Established" && n.HoldTime == 12*time.Second && n.BFD == "Up" && learned("10.2.7.0/24", "more")()
	})
	since = session(t, e[0], "more").Since
	for i, s := range sites {
		s.tunnels["more"] = neighborByHand(2, 20, i, ", hold_time: 12s")
		s.apply(t, e[i])
	}
	if n := session(t, e[0], "more"); n.State != "Established" || !n.Since.Equal(since) || n.BFD != "" {
		t.Errorf("without BFD the session is %+v", n)
	}
}

// TestApplyBFDAgain: neighbours that BFD cannot watch yet, one that was there and one that is new, are as the errors say, and are
// watched from the next reload on.
func TestApplyBFDAgain(t *testing.T) {
	sites, _ := bgpReload(t)
	passive := [2]string{"", ", passive: yes"} // so that no connection comes in place of another
	for i, s := range sites {
		s.tunnels["peer"] = neighborByHand(1, 10, i, passive[i])
	}
	e := startReload(t, sites)
	established := func(name string) func() bool {
		return func() bool { return session(t, e[0], name).State == "Established" }
	}
	eventually(t, "the session is up", patience, established("peer"))
	since := session(t, e[0], "peer").Since
	taken, err := e[0].ListenPacket("udp", "169.254.1.0:3784")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const watched = ", bfd: {interval: 300ms, multiplier: 100}"
	for i, s := range sites {
		s.tunnels["peer"] = neighborByHand(1, 10, i, passive[i]+watched)
		s.tunnels["more"] = neighborByHand(2, 20, i, passive[i]+watched)
	}
	sites[1].apply(t, e[1])
	for range 2 {
		err := e[0].Apply(sites[0].config(t))
		for _, name := range []string{"peer", "more"} {
			if !errors.Is(err, warren.ErrPartlyApplied) || !strings.Contains(err.Error(), "neighbor "+name+": BFD") {
				t.Errorf("the port of BFD is taken: %v", err)
			}
		}
		if n := session(t, e[0], "peer"); n.State != "Established" || !n.Since.Equal(since) || n.BFD != "" {
			t.Errorf("the session that goes on is %+v", n)
		}
		if n := session(t, e[0], "more"); n.State != "" {
			t.Errorf("the neighbour that could not be watched is %+v", n)
		}
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	sites[0].apply(t, e[0])
	eventually(t, "both are watched", patience, func() bool {
		return session(t, e[0], "peer").BFD == "Up" && session(t, e[0], "more").BFD == "Up"
	})
	eventually(t, "the new one is spoken to, and heard", patience, func() bool {
		n := session(t, e[0], "more")
		return n.State == "Established" && n.PrefixesIn > 0
	})
	if n := session(t, e[0], "peer"); !n.Since.Equal(since) {
		t.Error("the session of the other was begun anew")
	}
}
