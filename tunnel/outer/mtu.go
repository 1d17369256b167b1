package outer

import (
	"log/slog"
	"time"

	"github.com/warrenvpn/warren/dataplane"
)

// Bounds of a path's MTU in bytes of outer IP packet.
const (
	// assumed where the system cannot say.
	assumed = 1500
	// No ICMP error lowers the path's MTU below these floors, since nobody authenticated it: what every IPv4 host takes
	// (RFC 791 section 3.1), and the least MTU of an IPv6 link (RFC 8200 section 5).
	floor4 = 576
	floor6 = 1280
	// believed is for how long (RFC 1191 section 6.3, RFC 8201 section 4), and for how long what the system says is: its routes
	// change, and it remembers errors too, those that others' packets have earned as well.
	believed = 10 * time.Minute
)

// MTU is what is known of the MTU of a tunnel's path. The zero value knows nothing. Sizes are in bytes of outer IP packet.
type MTU struct {
	link    int // what the system says of the route; 0 for nothing
	lowered int // what an ICMP error said, which is less; 0 for nothing
	// until is when the system is asked again; zero where there is no path to ask for.
	until time.Time
}

// Explore forgets what was known and asks the system how large a packet on the path may be. The path is nil where there is none.
func (m *MTU) Explore(p *dataplane.Path, now time.Time, log *slog.Logger) {
	*m = MTU{}
	if p == nil {
		return
	}
	m.until = now.Add(believed)
	mtu, err := p.Underlay.PathMTU(p.Remote.Addr())
	if err != nil {
		log.Debug("path MTU unknown, 1500 assumed", "peer", p.Remote, "error", err)
		return
	}
	m.link = mtu
}

// Now is the path's MTU.
func (m *MTU) Now() int {
	switch {
	case m.lowered > 0:
		return m.lowered
	case m.link > 0:
		return m.link
	}
	return assumed
}

// Room is the largest frame in bytes that the path takes behind the outer headers. Without a path it is what UDP over IPv4
// would leave.
func (m *MTU) Room(p *dataplane.Path) int {
	encap := dataplane.Encap{UDP: true}
	if p != nil {
		encap = p.Underlay.Encap()
	}
	return m.Now() - encap.Len()
}

// Lower believes an ICMP error about the path, within the floors. It returns the MTU that holds from now on, and whether that is
// another than before.
func (m *MTU) Lower(p *dataplane.Path, mtu int, now time.Time) (lowered int, changed bool) {
	floor := floor4
	if p.Underlay.Encap().IPv6 {
		floor = floor6
	}
	if mtu = max(mtu, floor); mtu >= m.Now() {
		return m.Now(), false
	}
	m.lowered, m.until = mtu, now.Add(believed)
	return mtu, true
}

// LoweredUntil is until when an ICMP error is believed; zero where there was none.
func (m *MTU) LoweredUntil() time.Time {
	if m.lowered == 0 {
		return time.Time{}
	}
	return m.until
}

// Recover explores the path anew if what is known of it has been believed for long enough, and says whether it did. As long as the
// system knows nothing better than an ICMP error did, which it may itself remember, the path counts as lowered.
func (m *MTU) Recover(p *dataplane.Path, now time.Time, log *slog.Logger) bool {
	if m.until.IsZero() || now.Before(m.until) {
		return false
	}
	before := m.lowered
	if m.Explore(p, now, log); 0 < m.link && m.link <= before {
		m.lowered = m.link
	}
	return true
}
