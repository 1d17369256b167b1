package wireguard

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/internal/deadline"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// lowered are the peers whose path MTU an ICMP error lowered.
type lowered struct {
	mu    sync.Mutex
	peers []*Peer
}

// PathError implements dataplane.Opener: it lowers the path MTU of the peer whose message an ICMP error quotes, within the floors.
// An error that quotes none of our sessions does not prove that it is about a message of ours, and is ignored. What the system
// itself says about its device holds for all peers whose messages go the same way.
func (d *Device) PathError(u dataplane.Underlay, e *dataplane.PathError) {
	var peers []*Peer
	switch {
	case e.MTU == 0:
	case e.Local:
		peers = d.senders.Towards(u, e.Remote.Addr())
	case len(e.Quote) >= 8 && binary.LittleEndian.Uint32(e.Quote) == uint32(handshake.TypeTransport):
		peers = d.senders.Quoted(binary.LittleEndian.Uint32(e.Quote[4:]), u, e)
	}
	for _, p := range peers {
		if !p.lowerMTU(e.MTU) {
			continue
		}
		l := &d.lowered
		l.mu.Lock()
		if !slices.Contains(l.peers, p) {
			l.peers = append(l.peers, p)
		}
		l.mu.Unlock()
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
	mtu, changed := p.mtu.Lower(path, mtu, p.device.now())
	if changed {
		p.recompute()
		p.log.Info("path MTU lowered, larger frames came to nothing", "peer", path.Remote, "mtu", mtu, "inner_mtu", p.InnerMTU())
	}
	return changed
}

// forgetMTUs lets those path MTUs recover whose time is over, and says when it is to be called next; zero is never.
func (d *Device) forgetMTUs(now time.Time) (next time.Time) {
	l := &d.lowered
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers = slices.DeleteFunc(l.peers, func(p *Peer) bool {
		until := p.raiseMTU(now)
		next = deadline.Earliest(next, until)
		return until.IsZero()
	})
	return next
}

// raiseMTU forgets a lowered MTU whose time is over, and says until when another is believed; zero where there is none.
func (p *Peer) raiseMTU(now time.Time) (until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mtu.Recover(p.path.Load(), now, p.log) {
		p.recompute()
	}
	return p.mtu.LoweredUntil()
}

// recompute derives the inner MTU from the path's. The caller holds p.mu.
func (p *Peer) recompute() {
	room := p.mtu.Room(p.path.Load())
	inner := room - overhead
	if p.fixedMTU > 0 {
		inner = p.fixedMTU
	}
	p.outer.Store(int32(room))
	p.inner.Store(int32(inner))
}
