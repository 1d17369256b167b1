package ipsec

import (
	"log/slog"
	"time"

	"github.com/warrenvpn/warren/dataplane"
)

// Bounds of a path's MTU in bytes of outer IP packet.
const (
	// defaultMTU is assumed where the system cannot say.
	defaultMTU = 1500
	// No ICMP error lowers the path's MTU below these floors, since nobody authenticated it: what every IPv4 host takes
	// (RFC 791 section 3.1), and the least MTU of an IPv6 link (RFC 8200 section 5).
	floor4 = 576
	floor6 = 1280
	// mtuDecay is how long a lowered MTU is believed (RFC 1191 section 6.3, RFC 8201 section 4).
	mtuDecay = 10 * time.Minute
)

// pathMTU is what is known of the path's MTU, in bytes of outer IP packet; 0 for nothing.
type pathMTU struct {
	link    int // what the system says of the route
	lowered int // what an ICMP error said
	until   time.Time
}

func (m *pathMTU) now() int {
	mtu := defaultMTU
	if m.link > 0 {
		mtu = m.link
	}
	if m.lowered > 0 && m.lowered < mtu {
		mtu = m.lowered
	}
	return mtu
}

// decay forgets a lowered MTU whose time is over.
func (m *pathMTU) decay(now time.Time) bool {
	if m.lowered == 0 || now.Before(m.until) {
		return false
	}
	m.lowered = 0
	return true
}

// linkMTU asks the system how large a packet to the peer may be.
func linkMTU(p *dataplane.Path, log *slog.Logger) int {
	if p == nil {
		return 0
	}
	mtu, err := p.Underlay.PathMTU(p.Remote.Addr())
	if err != nil {
		log.Debug("path MTU unknown, 1500 assumed", "peer", p.Remote, "error", err)
		return 0
	}
	return mtu
}

// lowerMTU believes an ICMP error, within the floors.
func (t *Tunnel) lowerMTU(mtu int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.path.Load()
	if p == nil {
		return
	}
	floor := floor4
	if p.Underlay.Encap().IPv6 {
		floor = floor6
	}
	mtu = max(mtu, floor)
	if mtu >= t.mtu.now() {
		return
	}
	t.mtu.lowered, t.mtu.until = mtu, t.gw.now().Add(mtuDecay)
	t.recompute()
	t.log.Info("path MTU lowered by an ICMP error", "peer", p.Remote, "mtu", mtu, "inner_mtu", t.InnerMTU())
}

// recompute derives the inner MTU from the path's and from the suites in use. The caller holds t.mu.
func (t *Tunnel) recompute() {
	outer, encap := t.mtu.now(), dataplane.Encap{UDP: true}
	if p := t.path.Load(); p != nil {
		encap = p.Underlay.Encap()
	}
	room := outer - encap.Len()
	inner := room
	for _, c := range t.children {
		inner = min(inner, c.Out.MaxInner(room))
	}
	if t.cfg.MTU > 0 {
		inner = t.cfg.MTU
	}
	t.outer.Store(int32(room))
	t.inner.Store(int32(inner))
}
