package dataplane

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/prefetch"
	"github.com/warrenvpn/warren/internal/tally"
)

// tunnelEntry is what the plane keeps for one tunnel: what workers read of it, and where they count.
type tunnelEntry struct {
	tunnel Tunnel
	// traffic has an element for each worker.
	traffic []traffic
	vrf     *VRF
	// mssClamp is the clear packet size in bytes that TCP's MSS is lowered to fit; 0 leaves it, negative follows
	// InnerMTU.
	mssClamp int32
	index    uint32
	_        [8]byte
	// So far one cache line, which every packet reads.

	// near is what the tunnel's Seal reads, for who asks ahead: the next line.
	near prefetch.List
	// local are the tunnel's own addresses, our ends of its point-to-point pairs.
	local []netip.Addr
	drops Drops
	// Objects of a multiple of 64 bytes begin with a cache line.
	_ [32]byte
}

// traffic is one worker's count for one tunnel, on a cache line of its own: clear packets and their bytes.
type traffic struct {
	out, in tally.Pair
	_       [32]byte
}

// tunnelTable maps a tunnel's index to its entry: a snapshot that workers read. Index 0 is never used. Its writer holds
// the plane's mutex. Entries stay in their slot for the tunnel's life; appending copies nothing until the slice grows.
type tunnelTable struct {
	snapshot atomic.Pointer[[]atomic.Pointer[tunnelEntry]]
	taps     atomic.Pointer[taps]
	free     []uint32 // indexes that were taken, the longest free first
	next     uint32   // slots given away so far
}

func (t *tunnelTable) get(index uint32) *tunnelEntry {
	s, i := t.snapshot.Load(), int(index&maxSlot)
	if s == nil || i >= len(*s) {
		return nil
	}
	e := (*s)[i].Load()
	if e == nil || e.index != index {
		return nil
	}
	return e
}

// slot returns what stands where the index leads, without looking at it.
func (t *tunnelTable) slot(index uint32) *tunnelEntry {
	s, i := t.snapshot.Load(), int(index&maxSlot)
	if s == nil || i >= len(*s) {
		return nil
	}
	return (*s)[i].Load()
}

// set stores e in the index's slot, or with nil forgets what is there.
func (t *tunnelTable) set(index uint32, e *tunnelEntry) {
	s, i := t.snapshot.Load(), int(index&maxSlot)
	if s == nil || i >= len(*s) {
		bigger := make([]atomic.Pointer[tunnelEntry], max(64, 2*i))
		if s != nil {
			for j := range *s {
				bigger[j].Store((*s)[j].Load())
			}
		}
		s = &bigger
		t.snapshot.Store(s)
	}
	(*s)[i].Store(e)
}

// allocate returns an index that no tunnel has or, as far as the bits go, had. ok is false where all slots are taken.
func (t *tunnelTable) allocate() (index uint32, ok bool) {
	if len(t.free) > 0 {
		index = t.free[0]
		t.free = t.free[1:]
		return (index + 1<<slotBits) & maxTunnel, true
	}
	if t.next == maxSlot {
		return 0, false
	}
	t.next++
	return t.next, true
}

// TunnelConfig is what the plane wants to know of a tunnel.
type TunnelConfig struct {
	VRF *VRF
	// Local are our own addresses on the tunnel, if any: the source of ICMP errors.
	Local []netip.Addr
	// MSSClamp: 0 leaves TCP's MSS alone, -1 lowers it to what fits InnerMTU, any other number to what fits packets of
	// that size in bytes.
	MSSClamp int
}

// AddTunnel gives a new tunnel its index and makes it reachable. build gets the index, which the tunnel puts into its
// frames and clear packets. Routes to it are Hops of that index, see [TunnelHop].
func (p *Plane) AddTunnel(cfg TunnelConfig, build func(index uint32) (Tunnel, error)) (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.tunnels.allocate()
	if !ok {
		return 0, fmt.Errorf("add tunnel: %d tunnels are as many as a plane takes", maxSlot)
	}
	t, err := build(i)
	if err != nil {
		p.tunnels.free = append(p.tunnels.free, i)
		return 0, err
	}
	e := &tunnelEntry{
		index: i, tunnel: t, vrf: cfg.VRF, local: cfg.Local, mssClamp: int32(cfg.MSSClamp),
		traffic: make([]traffic, p.maxWorkers),
	}
	t.KeepNear(&e.near)
	p.tunnels.set(i, e)
	return i, nil
}

// RemoveTunnel forgets a tunnel. Routes to it must have been withdrawn; a packet that still looked one up is dropped.
func (p *Plane) RemoveTunnel(index uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnels.get(index) != nil {
		p.tunnels.set(index, nil)
		p.changeTaps(index, func([]Tap) []Tap { return nil })
		p.tunnels.free = append(p.tunnels.free, index)
	}
}

// TunnelStats are a tunnel's counters, summed over the workers.
type TunnelStats struct {
	OutPackets, OutBytes, InPackets, InBytes uint64
	Drops                                    map[packet.Reason]uint64
}

// TunnelStats returns the counters of a tunnel; ok is false where there is none of that index.
func (p *Plane) TunnelStats(index uint32) (s TunnelStats, ok bool) {
	e := p.tunnels.get(index)
	if e == nil {
		return s, false
	}
	for i := range e.traffic {
		packets, bytes := e.traffic[i].out.Load()
		s.OutPackets, s.OutBytes = s.OutPackets+packets, s.OutBytes+bytes
		packets, bytes = e.traffic[i].in.Load()
		s.InPackets, s.InBytes = s.InPackets+packets, s.InBytes+bytes
	}
	s.Drops = e.drops.snapshot()
	return s, true
}
