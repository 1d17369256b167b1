package wireguard

import (
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
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

// linkMTU asks the system how large a packet to the peer may be.
func linkMTU(p *dataplane.Path, log *slog.Logger) int {
	mtu, err := p.Underlay.PathMTU(p.Remote.Addr())
	if err != nil {
		log.Debug("path MTU unknown, 1500 assumed", "peer", p.Remote, "error", err)
		return 0
	}
	return mtu
}

// claims finds by what an ICMP error quotes the peers that may have sent it: the index that their peer chose, which need not
// be unique. It also knows whose path MTU is lowered.
type claims struct {
	mu      sync.Mutex
	of      map[uint32][]*Peer
	lowered []*Peer
}

func (c *claims) add(index uint32, p *Peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[index] = append(c.of[index], p)
}

func (c *claims) remove(index uint32, p *Peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ps := c.of[index]
	if i := slices.Index(ps, p); i >= 0 {
		ps = slices.Delete(ps, i, i+1)
	}
	if c.of[index] = ps; len(ps) == 0 {
		delete(c.of, index)
	}
}

// PathError implements dataplane.Opener: it lowers the path MTU of the peer whose message an ICMP error quotes, within the
// floors. An error that quotes none of our sessions was not earned by a message of ours, or does not prove it.
func (d *Device) PathError(u dataplane.Underlay, e *dataplane.PathError) {
	if len(e.Quote) < 8 || e.MTU == 0 || binary.LittleEndian.Uint32(e.Quote) != uint32(handshake.TypeTransport) {
		return
	}
	c := &d.claims
	c.mu.Lock()
	candidates := slices.Clone(c.of[binary.LittleEndian.Uint32(e.Quote[4:])])
	c.mu.Unlock()
	for _, p := range candidates {
		path := p.path.Load()
		if path == nil || path.Underlay != u || path.Remote.Addr() != e.Remote.Addr() || !p.lowerMTU(e.MTU) {
			continue
		}
		c.mu.Lock()
		if !slices.Contains(c.lowered, p) {
			c.lowered = append(c.lowered, p)
		}
		c.mu.Unlock()
		d.wake()
	}
}

// lowerMTU believes an ICMP error, within the floors, and says whether it told something new.
func (p *Peer) lowerMTU(mtu int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	path := p.path.Load()
	if path == nil {
		return false
	}
	floor := floor4
	if path.Underlay.Encap().IPv6 {
		floor = floor6
	}
	mtu = max(mtu, floor)
	if mtu >= p.mtu.now() {
		return false
	}
	p.mtu.lowered, p.mtu.until = mtu, p.device.now().Add(mtuDecay)
	p.recompute()
	p.log.Info("path MTU lowered by an ICMP error", "peer", path.Remote, "mtu", mtu, "inner_mtu", p.InnerMTU())
	return true
}

// forgetMTUs lets those path MTUs recover whose time is over, and says when it is to be called next; zero is never.
func (d *Device) forgetMTUs(now time.Time) (next time.Time) {
	c := &d.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lowered = slices.DeleteFunc(c.lowered, func(p *Peer) bool {
		until := p.raiseMTU(now)
		next = earlier(next, until)
		return until.IsZero()
	})
	return next
}

// raiseMTU forgets a lowered MTU whose time is over, and says until when another is believed; zero where there is none.
func (p *Peer) raiseMTU(now time.Time) (until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mtu.lowered == 0 {
		return until
	}
	if now.Before(p.mtu.until) {
		return p.mtu.until
	}
	p.mtu = pathMTU{}
	if path := p.path.Load(); path != nil {
		p.mtu.link = linkMTU(path, p.log)
	}
	p.recompute()
	return until
}

// recompute derives the inner MTU from the path's. The caller holds p.mu.
func (p *Peer) recompute() {
	outer, encap := p.mtu.now(), dataplane.Encap{UDP: true}
	if path := p.path.Load(); path != nil {
		encap = path.Underlay.Encap()
	}
	room := outer - encap.Len()
	inner := room - overhead
	if p.fixedMTU > 0 {
		inner = p.fixedMTU
	}
	p.outer.Store(int32(room))
	p.inner.Store(int32(inner))
}
