package bgp

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// Communities that keep a route from being announced (RFC 1997). There are no confederations here, so that the third is the first.
const (
	noExport          = 0xffffff01
	noAdvertise       = 0xffffff02
	noExportSubconfed = 0xffffff03
)

// defaultLocalPref is sent to internal neighbours with routes that have none.
const defaultLocalPref = 100

// exporter makes what a neighbour is to see of what the export policy let through.
type exporter struct {
	peer         *route.Peer
	localAS      uint32
	nextHopSelf  bool
	self4, self6 nextHop
}

// nextHop is our own next hop of a family; both may be missing.
type nextHop struct{ addr, linkLocal netip.Addr }

func newExporter(local Local, n *Neighbor, peer *route.Peer, deal *Negotiated, ours netip.Addr) *exporter {
	x := &exporter{peer: peer, localAS: n.localAS(local), nextHopSelf: n.NextHopSelf || !peer.IBGP}
	if n.LocalAddress.IsValid() {
		ours = n.LocalAddress
	}
	ours = ours.Unmap()
	x.self4.addr, x.self6.addr = n.NextHop4, n.NextHop6
	if !x.self4.addr.IsValid() && ours.Is4() {
		x.self4.addr = ours
	}
	switch {
	case ours.Is6() && ours.IsLinkLocalUnicast():
		x.self6.linkLocal = ours.WithZone("")
		if !x.self6.addr.IsValid() {
			x.self6.addr = x.self6.linkLocal
		}
	case ours.Is6() && !x.self6.addr.IsValid():
		x.self6.addr = ours
	}
	if !x.self4.addr.IsValid() && deal.Options.ExtendedNextHop {
		x.self4 = x.self6
	}
	return x
}

func (x *exporter) self(f message.Family) nextHop {
	if f == message.IPv4Unicast {
		return x.self4
	}
	return x.self6
}

// missing says which of the families cannot be announced from here.
func (x *exporter) missing(fs message.Families) error {
	for _, f := range fs.List() {
		if !x.self(f).addr.IsValid() {
			return fmt.Errorf("no address of ours is a next hop for %v: its prefixes are announced only with next hops of others", f)
		}
	}
	return nil
}

// allowed says whether a route may be announced to the neighbour at all: nothing goes back to where it came from, from one internal
// neighbour to another (RFC 4271 section 9.2; we do not reflect), or against its communities.
func (x *exporter) allowed(c *Change) bool {
	if c.From != nil && (c.From == x.peer || c.From.IBGP && x.peer.IBGP) {
		return false
	}
	for _, community := range c.Attrs.Communities {
		switch community {
		case noAdvertise:
			return false
		case noExport, noExportSubconfed:
			if !x.peer.IBGP {
				return false
			}
		}
	}
	return true
}

// attrs are the attributes as the neighbour is to see them (RFC 4271 section 5).
func (x *exporter) attrs(f message.Family, in *route.Attrs) *route.Attrs {
	out := *in
	switch {
	case x.nextHopSelf || !in.NextHop.IsValid():
		self := x.self(f)
		out.NextHop, out.LinkLocal = self.addr, self.linkLocal
	default:
		out.LinkLocal = netip.Addr{} // of another link, perhaps (RFC 2545 section 3)
	}
	if x.peer.IBGP {
		if !out.HasLocalPref {
			out.LocalPref, out.HasLocalPref = defaultLocalPref, true
		}
		return &out
	}
	out.LocalPref, out.HasLocalPref = 0, false
	out.OriginatorID, out.ClusterList = netip.Addr{}, nil
	out.ASPath = prepend(in.ASPath, x.localAS)
	return &out
}

// prepend puts an AS before a path (RFC 4271 section 5.1.2).
func prepend(path []route.Segment, as uint32) []route.Segment {
	if len(path) > 0 && path[0].Type == route.ASSequence && len(path[0].ASNs) < 255 {
		path = slices.Clone(path)
		path[0].ASNs = slices.Insert(slices.Clone(path[0].ASNs), 0, as)
		return path
	}
	return slices.Insert(slices.Clone(path), 0, route.Segment{Type: route.ASSequence, ASNs: []uint32{as}})
}
