package dataplane

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/tally"
)

// tunnelEntry is what workers read of one tunnel, and where they count. It is two cache lines, and what is seldom wanted stands
// elsewhere: entries of many tunnels then share few pages, and the processor finds its way to them sooner.
type tunnelEntry struct {
	tunnel Tunnel
	// traffic has an element for each worker, which the tunnel shares with its neighbours in the table.
	traffic [][together]traffic
	vrf     *VRF
	// mssClamp is the clear packet size in bytes that TCP's MSS is lowered to fit; 0 leaves it, negative follows
	// InnerMTU.
	mssClamp int32
	index    uint32
	*tunnelRest

	// near is what the tunnel's Seal reads, to be prefetched: the next line.
	near Near
}

// tunnelRest is what else the plane keeps for a tunnel.
type tunnelRest struct {
	// local are the tunnel's own addresses, our ends of its point-to-point pairs.
	local []netip.Addr
	drops Drops
	// before is what traffic had when the tunnel came: of one that had the slot earlier.
	before carried
}

// traffic is one worker's count for one tunnel: clear packets and their bytes. So many tunnels stand together as make a page of
// their own: one worker writes there, and meets few lines and pages where its packets go to many tunnels.
type traffic struct {
	out, in tally.Pair
}

const together = 128

// count is where a worker counts for the tunnel.
func (e *tunnelEntry) count(worker int) *traffic { return &e.traffic[worker][e.index%together] }

// carried are clear packets and their bytes.
type carried struct{ outPackets, outBytes, inPackets, inBytes uint64 }

// carried is what all workers have counted in the tunnel's place.
func (e *tunnelEntry) carried() (c carried) {
	for w := range e.traffic {
		packets, bytes := e.count(w).out.Load()
		c.outPackets, c.outBytes = c.outPackets+packets, c.outBytes+bytes
		packets, bytes = e.count(w).in.Load()
		c.inPackets, c.inBytes = c.inPackets+packets, c.inBytes+bytes
	}
	return c
}

// tunnelTable maps a tunnel's index to its entry: a snapshot that workers read. Index 0 is never used. Its writer holds
// the plane's mutex. Entries stay in their slot for the tunnel's life; appending copies nothing until the slice grows.
type tunnelTable struct {
	snapshot atomic.Pointer[[]atomic.Pointer[tunnelEntry]]
	taps     atomic.Pointer[taps]
	traffic  [][][together]traffic // of each together slots; nil where none was ever taken
	free     []uint32              // indexes that were taken, the longest free first
	next     uint32                // slots given away so far
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

// counters returns where the workers count for the slot and its neighbours. Whoever had the slot before has left its numbers there:
// to clear them is for nobody but the workers.
func (t *tunnelTable) counters(index uint32, workers int) [][together]traffic {
	block := int(index&maxSlot) / together
	for len(t.traffic) <= block {
		t.traffic = append(t.traffic, nil)
	}
	if t.traffic[block] == nil {
		t.traffic[block] = make([][together]traffic, workers)
	}
	return t.traffic[block]
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
		index: i, tunnel: t, vrf: cfg.VRF, mssClamp: int32(cfg.MSSClamp),
		traffic: p.tunnels.counters(i, p.maxWorkers), tunnelRest: &tunnelRest{local: cfg.Local},
	}
	e.before = e.carried()
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
	now, before := e.carried(), &e.before
	return TunnelStats{
		OutPackets: now.outPackets - before.outPackets, OutBytes: now.outBytes - before.outBytes,
		InPackets: now.inPackets - before.inPackets, InBytes: now.inBytes - before.inBytes,
		Drops: e.drops.snapshot(),
	}, true
}
